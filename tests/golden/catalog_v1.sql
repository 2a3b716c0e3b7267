PRAGMA application_id = 1397446979;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE catalog_info (
	schema_version INTEGER NOT NULL, 
	created DOUBLE NOT NULL, 
	PRIMARY KEY (schema_version)
);
INSERT INTO "catalog_info" VALUES(1,1.79536657397032070162e+09);
CREATE TABLE datasets (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name TEXT NOT NULL, 
	last_number INTEGER NOT NULL, 
	created DOUBLE NOT NULL, 
	UNIQUE (name)
);
INSERT INTO "datasets" VALUES(1,'dy',1,1.79536657399687457083e+09);
CREATE TABLE files (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	path TEXT NOT NULL, 
	uuid VARCHAR(64) NOT NULL, 
	tree TEXT NOT NULL, 
	entries INTEGER NOT NULL, 
	bytes INTEGER NOT NULL, 
	UNIQUE (uuid, tree, path, entries, bytes)
);
INSERT INTO "files" VALUES(1,'/data/a.root','uuid-a','Events',20,5000);
INSERT INTO "files" VALUES(5,'/data/b.root','uuid-b','Events',10,2500);
CREATE TABLE job_partitions (
	job_id INTEGER NOT NULL, 
	partition_id INTEGER NOT NULL, 
	PRIMARY KEY (job_id, partition_id)
)
 WITHOUT ROWID

;
INSERT INTO "job_partitions" VALUES(2,5);
CREATE TABLE job_trees (
	job_id INTEGER NOT NULL, 
	tree TEXT NOT NULL, 
	file_id INTEGER NOT NULL, 
	object_id INTEGER NOT NULL, 
	PRIMARY KEY (job_id, tree, file_id)
)
 WITHOUT ROWID

;
CREATE TABLE jobs (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	"key" VARCHAR(64) NOT NULL, 
	dataset TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	description TEXT NOT NULL, 
	version INTEGER, 
	updated DOUBLE NOT NULL, 
	UNIQUE ("key")
);
INSERT INTO "jobs" VALUES(1,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','dy','done','{"files": 1}',1,1.79536657400530719761e+09);
INSERT INTO "jobs" VALUES(2,'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','dy','running','{"files": 2}',NULL,1.7953665740073666572e+09);
CREATE TABLE layout_columns (
	layout_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	"index" INTEGER NOT NULL, 
	PRIMARY KEY (layout_id, name)
)
 WITHOUT ROWID

;
INSERT INTO "layout_columns" VALUES(1,'Muon#',0);
INSERT INTO "layout_columns" VALUES(1,'Muon_pt',1);
CREATE TABLE layouts (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	digest VARCHAR(64) NOT NULL, 
	UNIQUE (digest)
);
INSERT INTO "layouts" VALUES(1,'eba7d70eef5eb9581380113b6948df1ca8884b091faf188494f220f35224712b');
CREATE TABLE objects (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name VARCHAR(128) NOT NULL, 
	bytes INTEGER NOT NULL, 
	directory_start INTEGER NOT NULL, 
	directory_bytes INTEGER NOT NULL, 
	layout_id INTEGER NOT NULL, 
	UNIQUE (name)
);
INSERT INTO "objects" VALUES(1,'1111111111111111111111111111111111111111111111111111111111111111',1000,800,100,1);
INSERT INTO "objects" VALUES(2,'2222222222222222222222222222222222222222222222222222222222222222',1000,800,100,1);
INSERT INTO "objects" VALUES(5,'3333333333333333333333333333333333333333333333333333333333333333',1000,800,100,1);
CREATE TABLE partitions (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	object_id INTEGER NOT NULL, 
	file_id INTEGER NOT NULL, 
	entry_start INTEGER NOT NULL, 
	entry_stop INTEGER NOT NULL, 
	events INTEGER NOT NULL, 
	UNIQUE (object_id, file_id, entry_start, entry_stop)
);
INSERT INTO "partitions" VALUES(1,1,1,0,10,10);
INSERT INTO "partitions" VALUES(2,2,1,10,20,10);
INSERT INTO "partitions" VALUES(5,5,5,0,10,10);
CREATE TABLE schema_columns (
	schema_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	position INTEGER NOT NULL, 
	dtype VARCHAR(16) NOT NULL, 
	list TEXT, 
	counts TEXT, 
	title TEXT NOT NULL, 
	typename TEXT NOT NULL, 
	PRIMARY KEY (schema_id, name)
)
 WITHOUT ROWID

;
INSERT INTO "schema_columns" VALUES(1,'Muon_pt',1,'float32','Muon',NULL,'pt','Float_t[nMuon]');
INSERT INTO "schema_columns" VALUES(1,'nMuon',0,'uint32',NULL,'Muon','muons','UInt_t');
CREATE TABLE schema_lists (
	schema_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	position INTEGER NOT NULL, 
	counter TEXT, 
	collection BOOLEAN NOT NULL, 
	PRIMARY KEY (schema_id, name)
)
 WITHOUT ROWID

;
INSERT INTO "schema_lists" VALUES(1,'Muon',0,'nMuon',1);
CREATE TABLE schemas (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	digest VARCHAR(64) NOT NULL, 
	UNIQUE (digest)
);
INSERT INTO "schemas" VALUES(1,'9a1b8837036da7cfd361a06a3f87f6b01fdb7815a3cdb6fac8e64045a17e4a5f');
CREATE TABLE version_files (
	version_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	file_id INTEGER NOT NULL, 
	PRIMARY KEY (version_id, position)
)
 WITHOUT ROWID

;
INSERT INTO "version_files" VALUES(1,0,1);
CREATE TABLE version_layouts (
	version_id INTEGER NOT NULL, 
	layout_id INTEGER NOT NULL, 
	PRIMARY KEY (version_id, layout_id)
)
 WITHOUT ROWID

;
INSERT INTO "version_layouts" VALUES(1,1);
CREATE TABLE version_partitions (
	version_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	partition_id INTEGER NOT NULL, 
	first_event INTEGER NOT NULL, 
	PRIMARY KEY (version_id, position)
)
 WITHOUT ROWID

;
INSERT INTO "version_partitions" VALUES(1,0,1,0);
INSERT INTO "version_partitions" VALUES(1,1,2,10);
CREATE TABLE version_trees (
	version_id INTEGER NOT NULL, 
	tree TEXT NOT NULL, 
	file_id INTEGER NOT NULL, 
	object_id INTEGER NOT NULL, 
	PRIMARY KEY (version_id, tree, file_id)
)
 WITHOUT ROWID

;
CREATE TABLE versions (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	dataset_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	schema_id INTEGER NOT NULL, 
	events INTEGER NOT NULL, 
	partitions INTEGER NOT NULL, 
	bytes INTEGER NOT NULL, 
	created DOUBLE NOT NULL, 
	note TEXT NOT NULL, 
	UNIQUE (dataset_id, number)
);
INSERT INTO "versions" VALUES(1,1,1,1,20,2,2000,1.79536657400067806242e+09,'');
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('layouts',1);
INSERT INTO "sqlite_sequence" VALUES('jobs',2);
INSERT INTO "sqlite_sequence" VALUES('objects',5);
INSERT INTO "sqlite_sequence" VALUES('files',5);
INSERT INTO "sqlite_sequence" VALUES('partitions',5);
INSERT INTO "sqlite_sequence" VALUES('datasets',1);
INSERT INTO "sqlite_sequence" VALUES('schemas',1);
INSERT INTO "sqlite_sequence" VALUES('versions',1);
COMMIT;
