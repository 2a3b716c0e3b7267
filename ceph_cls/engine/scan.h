// Runs a program over one object, without doing any I/O itself.
//
//   Scan scan(program, place, limits, &result);
//   while (scan.Advance() == Scan::Step::kNeed) {
//     for (size_t i = 0; i < scan.needs().size(); ++i) read scan.needs()[i] to scan.Place(i);
//   }
//
// Directory rows come first, then, chunk by chunk: the zone maps, the columns of the cut one term
// after the other while events are left, and last the output columns of chunks with events left.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "bounds.h"
#include "codec.h"
#include "evaluate.h"
#include "result.h"
#include "selection.h"

namespace skyhook {

// Memory that the columns of one chunk may take when decoded.
inline constexpr uint64_t kChunkBytesMax = uint64_t{4} << 30;

// Where the object's directory lies, and which events of the dataset the object holds.
struct ObjectPlace {
  uint64_t directory_start = 0;
  uint64_t directory_bytes = 0;
  int64_t first_event = 0;
};

// With a limit of time, the rows after which a scan first looks at the clock. Later pieces have more rows if
// they are quick, so that a chunk of the usual size is one piece, and a heavy program is interrupted in time.
inline constexpr int64_t kFirstPieceRows = 1024;

// A scan pauses once one of these is passed; -1 for no limit. The next scan decodes a chunk anew, so a scan
// rather pauses between chunks.
struct ScanLimits {
  int64_t cursor = 0;  // where to go on: what cursor() of the last scan was
  int64_t events_max = -1;
  int64_t bytes_max = -1;
  uint64_t lookahead_bytes = 0;   // of later chunks to ask for together
  uint32_t milliseconds_max = 0;  // to pause in a chunk; between chunks half of it; 0 for no limit
  int64_t bytes_slack = 0;        // that may be delivered beyond bytes_max to end a chunk
  int64_t first_piece_rows = kFirstPieceRows;
  const Selection* selection = nullptr;  // the only events to look at, counted from the object's first
};

// With a limit of time, a scan that does not come to a pause for so long ends with Error(kStore).
inline constexpr uint32_t kGiveUpMilliseconds = 4000;

class Scan {
 public:
  enum class Step { kNeed, kPaused, kDone };

  // `program` must outlive the scan; the result's columns must fit its outputs.
  Scan(const Program& program, const ObjectPlace& place, const ScanLimits& limits, Result* result);

  // Goes on until bytes are needed, a limit is passed or the object is done. Throws Error.
  Step Advance();

  // After kNeed: the ranges to read, each to its place.
  const std::vector<ByteRange>& needs() const { return needs_; }
  const std::vector<uint8_t*>& places() const { return places_; }
  uint8_t* Place(size_t i) { return places_[i]; }

  // After kPaused: where another scan may go on.
  int64_t cursor() const { return cursor_; }

 private:
  enum class Stage { kHeader, kKeys, kRows, kChunks };
  struct Piece {
    ByteRange range;
    Buffer data;
  };
  // One column's bytes of one chunk.
  struct Slot {
    bool asked = false;
    bool decoded = false;
    Buffer stored;
    Buffer values;
    ColumnValues view;
  };
  struct Chunk {
    uint32_t number = 0;
    bool judged = false;
    bool pruned = false;   // zone maps rule it out, or no event of it is selected: nothing of it is read
    bool skipped = false;  // the latter
    std::vector<Verdict> verdicts;
    std::vector<Slot> slots;
  };

  using Clock = std::chrono::steady_clock;

  void LinkResult();
  void Need(ByteRange range, uint8_t* place);
  Bytes Want(ByteRange range);
  bool ReadHeader();
  bool ReadKeys();
  bool ReadRows();
  void LinkRows();
  void CheckSizes() const;
  Step RunChunks();
  Step Pause();
  bool RunPiece(Chunk* chunk);
  void StartPiece(Chunk* chunk);
  void FitPieces();
  bool IsTimeUp(bool chunk_done) const;
  bool IsFull(int64_t slack) const;
  void StopAt(Chunk* chunk, int64_t row);
  bool Cut(Chunk* chunk);
  void CountPruned(const Chunk& chunk);
  void KeepSelected(const Chunk& chunk);
  // Of the piece, after the terms so far.
  int64_t RowsLeft() const { return whole_ ? end_row_ - first_row_ : static_cast<int64_t>(kept_.size()); }
  void ApplyTerm(Chunk* chunk, size_t term);
  bool CannotFill(const Chunk& chunk) const;
  bool Deliver(Chunk* chunk);
  bool Ask(Chunk* chunk, const std::vector<int>& columns);
  bool AskOne(Chunk* chunk, int column);
  void LookAhead(const std::vector<int>& columns);
  Chunk& ChunkAt(uint32_t number);
  void Judge(Chunk* chunk);
  void Decode(Chunk* chunk, int column);
  void CheckList(Chunk* chunk, int column);
  void DeliverRows(Chunk* chunk, const Rows& rows);
  void DeliverLists(Chunk* chunk, const Rows& rows);
  void DeliverStored(Chunk* chunk, size_t output, const Rows& rows);
  void DeliverComputed(Chunk* chunk, const Rows& rows);
  template <typename F>
  void InBlocks(const Rows& rows, F f);
  void Recycle(Chunk* chunk);
  std::string Where(const Chunk& chunk, int column) const;

  const Program& program_;
  ObjectPlace place_;
  ScanLimits limits_;
  Result& result_;
  ScanReport report_;
  Evaluator evaluator_;
  Decoder decoder_;

  Stage stage_ = Stage::kHeader;
  std::vector<ByteRange> needs_;
  std::vector<uint8_t*> places_;
  std::deque<Piece> pieces_;

  DirectoryHeader header_{};
  std::vector<uint32_t> chunk_events_;
  std::vector<int64_t> chunk_first_;
  std::vector<uint32_t> row_index_;  // directory index by program column
  std::vector<ColumnRow> rows_;      // by program column
  std::vector<const ColumnRow*> row_pointers_;

  std::vector<std::vector<int>> term_columns_;
  std::vector<std::vector<int>> term_orders_;
  std::vector<int> output_columns_;
  std::vector<int> all_columns_;
  std::vector<int> computed_order_;
  std::vector<size_t> stored_outputs_;
  std::vector<size_t> computed_outputs_;
  std::vector<int> group_axis_;  // axis node of each result group

  std::deque<Chunk> chunks_;  // the current chunk and those looked ahead
  std::vector<Buffer> spare_;
  // A piece is a run of rows of one chunk: all of them, if no time limit cuts them shorter.
  uint32_t chunk_ = 0;
  int64_t first_row_ = 0;  // of the piece
  int64_t end_row_ = 0;    // one past its last row
  int64_t piece_rows_;     // most rows of the next piece
  bool started_ = false;
  bool cut_done_ = false;
  std::vector<int64_t> passed_before_;
  size_t term_ = 0;
  bool whole_ = true;  // every row from first_row_ on is kept; else kept_ lists the rows
  std::vector<int32_t> kept_;
  std::vector<uint8_t> mask_;
  int64_t block_rows_ = kBlockRows;
  int64_t cursor_ = -1;
  Clock::time_point start_;
  Clock::time_point piece_start_;
  int64_t events_at_start_ = 0;
  int64_t bytes_at_start_ = 0;
};

}  // namespace skyhook
