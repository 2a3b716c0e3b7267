#include "scan.h"

#include <algorithm>
#include <string>

#include "kernels.h"

namespace skyhook {
namespace {

// Enough for the header and the chunk table of all but the longest objects.
constexpr uint64_t kFirstReadBytes = 1024;
// Events delivered between two looks at the limits.
constexpr int64_t kSliceRows = 1024;
// Of pieces that are not the first.
constexpr int64_t kPieceRowsMin = 64;
constexpr auto kPieceQuick = std::chrono::milliseconds(5);
constexpr auto kPieceSlow = std::chrono::milliseconds(20);
// Chunks opened ahead of the current one: their columns may take no bytes, but each has its slots.
constexpr uint32_t kChunksAheadMax = 64;

}  // namespace

Scan::Scan(const Program& program, const ObjectPlace& place, const ScanLimits& limits, Result* result)
    : program_(program),
      place_(place),
      limits_(limits),
      result_(*result),
      evaluator_(program),
      chunk_(static_cast<uint32_t>(limits.cursor >> 32)),
      first_row_(limits.cursor & 0xFFFFFFFF),
      piece_rows_(limits.milliseconds_max > 0 ? limits.first_piece_rows : int64_t{kChunkEventsMax}),
      start_(Clock::now()),
      events_at_start_(result->events),
      bytes_at_start_(result->nbytes()) {
  if (limits.cursor < 0 || place.directory_start > kObjectBytesMax ||
      place.directory_bytes > kObjectBytesMax) {
    Invalid("the cursor or the directory's place is out of range");
  }
  if (limits.milliseconds_max > 0)
    evaluator_.GiveUpAt(start_ + std::chrono::milliseconds(kGiveUpMilliseconds));
  LinkResult();
  report_.passed.resize(program.terms.size());
  std::vector<int32_t> roots = program.terms;
  roots.insert(roots.end(), program.outputs.begin(), program.outputs.end());
  all_columns_ = program.ColumnsOf(roots);
  for (int32_t term : program.terms) {
    term_columns_.push_back(program.ColumnsOf({term}));
    term_orders_.push_back(evaluator_.Order({term}));
  }
  output_columns_ = program.ColumnsOf(program.outputs);
  std::vector<int32_t> computed;
  for (size_t i = 0; i < program.outputs.size(); ++i) {
    const bool stored = program.nodes[static_cast<size_t>(program.outputs[i])].op == Op::kLoad;
    (stored ? stored_outputs_ : computed_outputs_).push_back(i);
    if (!stored) computed.push_back(program.outputs[i]);
  }
  computed_order_ = evaluator_.Order(computed);
}

void Scan::LinkResult() {
  if (result_.columns.size() != program_.outputs.size())
    Invalid("the result has other columns than the program");
  group_axis_.assign(result_.groups.size(), -1);
  for (size_t i = 0; i < program_.outputs.size(); ++i) {
    const Node& node = program_.nodes[static_cast<size_t>(program_.outputs[i])];
    const ResultColumn& column = result_.columns[i];
    if (node.dtype != column.dtype || (node.axis >= 0) != (column.group >= 0)) {
      Invalid("output " + std::to_string(i) + " does not fit the result");
    }
    if (column.group < 0) continue;
    int& axis = group_axis_[static_cast<size_t>(column.group)];
    if (axis >= 0 && axis != node.axis) Invalid("outputs of one group lie on different lists");
    axis = node.axis;
  }
  for (int axis : group_axis_) {
    if (axis < 0) Invalid("a group of the result has no column");
  }
}

void Scan::Need(ByteRange range, uint8_t* place) {
  needs_.push_back(range);
  places_.push_back(place);
}

// Returns the bytes if they are here; else asks for them and returns an empty span.
Bytes Scan::Want(ByteRange range) {
  for (const Piece& piece : pieces_) {
    if (piece.range.start <= range.start && range.stop <= piece.range.stop) {
      return piece.data.bytes().subspan(range.start - piece.range.start, range.size());
    }
  }
  pieces_.push_back({range, {}});
  Need(range, pieces_.back().data.Renew(range.size()));
  return {};
}

Scan::Step Scan::Advance() {
  needs_.clear();
  places_.clear();
  if (stage_ == Stage::kHeader) {
    if (!ReadHeader()) return Step::kNeed;
    stage_ = Stage::kKeys;
  }
  if (stage_ == Stage::kKeys) {
    if (!ReadKeys()) return Step::kNeed;
    stage_ = Stage::kRows;
  }
  if (stage_ == Stage::kRows) {
    if (!ReadRows()) return Step::kNeed;
    LinkRows();
    CheckSizes();
    pieces_.clear();
    stage_ = Stage::kChunks;
  }
  return RunChunks();
}

// ------------------------------------------------------------------------------------- directory
bool Scan::ReadHeader() {
  const uint64_t start = place_.directory_start;
  if (place_.directory_bytes < kDirectoryHeaderBytes) Corrupt("the directory is too short");
  const Bytes head = Want({start, start + std::min(place_.directory_bytes, kFirstReadBytes)});
  if (head.empty()) return false;
  header_ = DecodeHeader(head, start, place_.directory_bytes);
  const Bytes table = Want(header_.chunk_table());
  if (table.empty()) return false;
  chunk_events_ = DecodeChunkTable(table, header_);
  int64_t first = 0;
  for (uint32_t events : chunk_events_) {
    chunk_first_.push_back(first);
    first += events;
  }
  if (chunk_ > header_.n_chunks || (chunk_ == header_.n_chunks && first_row_ > 0) ||
      (chunk_ < header_.n_chunks && first_row_ > int64_t{chunk_events_[chunk_]})) {
    Invalid("the cursor points behind the object's end");
  }
  return true;
}

// Finds the columns without a hint in the table of name hashes.
bool Scan::ReadKeys() {
  row_index_.assign(program_.columns.size(), kNoHint);
  bool all = true;
  for (int c : all_columns_) {
    const StoredColumn& column = program_.columns[static_cast<size_t>(c)];
    row_index_[static_cast<size_t>(c)] = column.hint < header_.n_columns ? column.hint : kNoHint;
    all = all && column.hint < header_.n_columns;
  }
  if (all) return true;
  const Bytes table = Want(header_.key_table());
  if (table.empty()) return false;
  const std::vector<uint64_t> keys = DecodeKeyTable(table, header_);
  for (int c : all_columns_) {
    const StoredColumn& column = program_.columns[static_cast<size_t>(c)];
    uint32_t& index = row_index_[static_cast<size_t>(c)];
    if (index != kNoHint) continue;
    const auto found = std::find(keys.begin(), keys.end(), column.name_hash);
    if (found == keys.end()) Invalid("the object has no column '" + column.name + "'");
    index = static_cast<uint32_t>(found - keys.begin());
  }
  return true;
}

bool Scan::ReadRows() {
  bool here = true;
  for (int c : all_columns_) here &= !Want(header_.row(row_index_[static_cast<size_t>(c)])).empty();
  return here;
}

// Decodes the rows and checks that they are what the program takes them for.
void Scan::LinkRows() {
  rows_.resize(program_.columns.size());
  row_pointers_.assign(program_.columns.size(), nullptr);
  for (int c : all_columns_) {
    const size_t i = static_cast<size_t>(c);
    const StoredColumn& column = program_.columns[i];
    try {
      rows_[i] = DecodeRow(Want(header_.row(row_index_[i])), header_, row_index_[i], chunk_events_);
    } catch (const Error& error) {
      throw Error(error.kind(), "column '" + column.name + "': " + error.what());
    }
    const ColumnRow& row = rows_[i];
    if (row.name_hash != column.name_hash)
      Corrupt("the directory has another column where '" + column.name + "' is due");
    if (row.dtype != column.dtype || (row.kind == ColumnKind::kOffsets) != column.offsets) {
      Corrupt("column '" + column.name + "' is of another type than the catalog says");
    }
    row_pointers_[i] = &rows_[i];
  }
  for (const Node& node : program_.nodes) {
    if (node.op != Op::kLoad || row_pointers_[static_cast<size_t>(node.a)] == nullptr) continue;
    const ColumnRow& row = rows_[static_cast<size_t>(node.a)];
    const bool jagged = node.axis >= 0;
    const bool fits = row.kind == (jagged ? ColumnKind::kListElement : ColumnKind::kEventValue);
    const int list = jagged ? program_.nodes[static_cast<size_t>(node.axis)].a : 0;
    if (!fits || (jagged && row.offsets_index != row_index_[static_cast<size_t>(list)])) {
      Corrupt("column '" + program_.columns[static_cast<size_t>(node.a)].name + "' lies on another list");
    }
  }
}

// Small objects must not make the scan ask for memory without end.
void Scan::CheckSizes() const {
  uint64_t stored = 0;
  for (uint32_t chunk = 0; chunk < header_.n_chunks; ++chunk) {
    uint64_t decoded = 0;
    for (int c : all_columns_) {
      const ColumnRow& row = rows_[static_cast<size_t>(c)];
      stored += row.chunks[chunk].stored_bytes;
      decoded += uint64_t{row.chunks[chunk].n_values} * SizeOf(row.dtype);
    }
    if (decoded > kChunkBytesMax) {
      throw Error(Kind::kResourceExhausted, "the columns of one chunk take more than 4 GiB");
    }
  }
  if (stored > header_.start) Corrupt("the columns' bytes overlap");
}

// ---------------------------------------------------------------------------------------- chunks
Scan::Step Scan::RunChunks() {
  if (limits_.events_max == 0 && chunk_ < header_.n_chunks) {
    cursor_ = limits_.cursor;
    return Step::kPaused;
  }
  while (chunk_ < header_.n_chunks) {
    Chunk& chunk = ChunkAt(chunk_);
    if (!RunPiece(&chunk)) return needs_.empty() ? Pause() : Step::kNeed;
    FitPieces();
    first_row_ = end_row_;
    started_ = cut_done_ = false;
    term_ = 0;
    const bool chunk_done = end_row_ == int64_t{chunk_events_[chunk_]};
    if (chunk_done) {
      Recycle(&chunk);
      chunks_.pop_front();
      ++chunk_;
      first_row_ = 0;
    }
    if (chunk_ < header_.n_chunks && (IsTimeUp(chunk_done) || (chunk_done && IsFull(0)))) {
      cursor_ = int64_t{chunk_} << 32 | first_row_;
      return Pause();
    }
  }
  result_.report.Add(report_);
  return Step::kDone;
}

Scan::Step Scan::Pause() {
  result_.report.Add(report_);
  return Step::kPaused;
}

bool Scan::IsTimeUp(bool chunk_done) const {
  const std::chrono::milliseconds most(limits_.milliseconds_max);
  return limits_.milliseconds_max > 0 && Clock::now() - start_ >= (chunk_done ? most / 2 : most);
}

bool Scan::IsFull(int64_t slack) const {
  return limits_.bytes_max >= 0 && result_.nbytes() - bytes_at_start_ >= limits_.bytes_max + slack;
}

Scan::Chunk& Scan::ChunkAt(uint32_t number) {
  while (chunks_.empty() || chunks_.back().number < number) {
    Chunk chunk;
    chunk.number = chunks_.empty() ? chunk_ : chunks_.back().number + 1;
    chunk.slots.resize(program_.columns.size());
    chunks_.push_back(std::move(chunk));
  }
  return chunks_[number - chunks_.front().number];
}

void Scan::Judge(Chunk* chunk) {
  if (chunk->judged) return;
  chunk->judged = true;
  const int64_t first = chunk_first_[chunk->number];
  chunk->skipped = limits_.selection != nullptr &&
                   !limits_.selection->Any(first, first + int64_t{chunk_events_[chunk->number]});
  chunk->pruned = chunk->skipped;
  if (chunk->skipped) return;
  chunk->verdicts = JudgeTerms(program_, row_pointers_, chunk->number);
  chunk->pruned =
      std::find(chunk->verdicts.begin(), chunk->verdicts.end(), Verdict::kNever) != chunk->verdicts.end();
}

// Returns false if bytes are needed or a limit is passed.
bool Scan::RunPiece(Chunk* chunk) {
  if (!cut_done_) {
    if (term_ == 0) StartPiece(chunk);
    if (chunk->skipped) return true;
    if (!Cut(chunk)) return false;
    cut_done_ = true;
  }
  return Deliver(chunk);
}

// A piece may be started again when its bytes have come; it is counted once.
void Scan::StartPiece(Chunk* chunk) {
  if (started_) return;
  started_ = true;
  piece_start_ = Clock::now();
  Judge(chunk);
  const int64_t events = chunk_events_[chunk->number];
  end_row_ = chunk->pruned ? events : std::min(events, first_row_ + piece_rows_);
  passed_before_ = report_.passed;
  report_.events_in += end_row_ - first_row_;
  if (first_row_ > 0 || chunk->skipped) return;  // the chunk was counted with its first piece
  ++report_.chunks;
  report_.chunks_pruned += chunk->pruned;
  for (int c : all_columns_)
    report_.bytes_total += rows_[static_cast<size_t>(c)].chunks[chunk->number].stored_bytes;
}

// Lets pieces after a quick one have more rows, and after a slow one fewer.
void Scan::FitPieces() {
  if (limits_.milliseconds_max == 0) return;
  const auto taken = Clock::now() - piece_start_;
  if (taken < kPieceQuick) piece_rows_ = std::min<int64_t>(4 * piece_rows_, kChunkEventsMax);
  if (taken > kPieceSlow) piece_rows_ = std::max(piece_rows_ / 2, kPieceRowsMin);
}

// Takes the events from `row` on out of the counts: they are for the next scan.
void Scan::StopAt(Chunk* chunk, int64_t row) {
  if (row == end_row_) return;
  report_.events_in -= end_row_ - row;
  report_.passed = passed_before_;
  end_row_ = row;
  term_ = 0;
  Cut(chunk);
}

bool Scan::Cut(Chunk* chunk) {
  if (term_ == 0) {
    whole_ = true;
    kept_.clear();
    if (limits_.selection != nullptr) KeepSelected(*chunk);
  }
  if (chunk->pruned) {
    CountPruned(*chunk);
    return true;
  }
  for (; term_ < program_.terms.size(); ++term_) {
    if (RowsLeft() > 0 && chunk->verdicts[term_] != Verdict::kAlways) {
      if (!Ask(chunk, term_columns_[term_])) return false;
      ApplyTerm(chunk, term_);
    }
    report_.passed[term_] += RowsLeft();
  }
  return true;
}

// Counts what each term leaves of a chunk that some term rules out, as far as the zone maps tell: to know
// more, columns would have to be read of which nothing is wanted.
void Scan::CountPruned(const Chunk& chunk) {
  size_t term = 0;
  for (; chunk.verdicts[term] == Verdict::kAlways; ++term) report_.passed[term] += RowsLeft();
  for (; RowsLeft() > 0 && chunk.verdicts[term] != Verdict::kNever; ++term) report_.SetPartial(term);
  whole_ = false;
  kept_.clear();
}

// Keeps those rows of the piece that are selected.
void Scan::KeepSelected(const Chunk& chunk) {
  const int64_t first = chunk_first_[chunk.number];
  limits_.selection->ForEach(first + first_row_, first + end_row_,
                             [&](int64_t event) { kept_.push_back(static_cast<int32_t>(event - first)); });
  whole_ = static_cast<int64_t>(kept_.size()) == end_row_ - first_row_;
}

// Calls f with block after block of the rows; f returns false to get a smaller one.
template <typename F>
void Scan::InBlocks(const Rows& rows, F f) {
  int64_t done = 0;
  while (done < rows.n) {
    const int64_t n = std::min(block_rows_, rows.n - done);
    const Rows block =
        rows.index != nullptr ? Rows{rows.index + done, 0, n} : Rows{nullptr, rows.first + done, n};
    if (f(block)) {
      done += n;
      // After a block of large events, find the way back to full blocks slowly.
      block_rows_ = std::min(kBlockRows, block_rows_ + std::max<int64_t>(block_rows_ / 8, 1));
    } else {
      block_rows_ = std::max<int64_t>(n / 2, 1);
    }
  }
}

void Scan::ApplyTerm(Chunk* chunk, size_t term) {
  std::vector<ColumnValues> columns(program_.columns.size());
  for (int c : term_columns_[term]) {
    Decode(chunk, c);
    columns[static_cast<size_t>(c)] = chunk->slots[static_cast<size_t>(c)].view;
  }
  for (int c : term_columns_[term]) CheckList(chunk, c);
  const Rows rows = whole_ ? Rows{nullptr, first_row_, end_row_ - first_row_}
                           : Rows{kept_.data(), 0, static_cast<int64_t>(kept_.size())};
  mask_.resize(static_cast<size_t>(rows.n));
  int64_t at = 0;
  InBlocks(rows, [&](const Rows& block) {
    if (!evaluator_.Run(term_orders_[term], columns, block)) return false;
    const Value& truth = evaluator_.ValueOf(program_.terms[term]);
    std::memcpy(mask_.data() + at, truth.data, static_cast<size_t>(block.n));
    for (int64_t i = 0; truth.valid != nullptr && i < block.n; ++i)
      mask_[static_cast<size_t>(at + i)] &= truth.valid[i];
    at += block.n;
    return true;
  });
  std::vector<int32_t> chosen(static_cast<size_t>(rows.n) + 8);
  const int64_t n = Kernels().select(mask_.data(), rows.n, chosen.data());
  if (n == rows.n) return;
  chosen.resize(static_cast<size_t>(n));
  if (whole_) {
    for (int32_t& row : chosen) row += static_cast<int32_t>(first_row_);
  } else {
    for (int32_t& row : chosen) row = kept_[static_cast<size_t>(row)];
  }
  kept_ = std::move(chosen);
  whole_ = false;
}

// Whether no limit of bytes can be passed by delivering every row of the chunk. Then it need not be looked
// at, and columns can be decoded to where they go.
bool Scan::CannotFill(const Chunk& chunk) const {
  if (limits_.bytes_max < 0) return true;
  if (!computed_outputs_.empty() || !result_.histograms.empty()) return false;
  int64_t most = 8 * int64_t{chunk_events_[chunk.number]} * static_cast<int64_t>(result_.groups.size() + 1);
  for (const size_t output : stored_outputs_) {
    const Node& node = program_.nodes[static_cast<size_t>(program_.outputs[output])];
    const ChunkEntry& entry = rows_[static_cast<size_t>(node.a)].chunks[chunk.number];
    most += int64_t{entry.n_values} * static_cast<int64_t>(SizeOf(node.dtype));
  }
  return result_.nbytes() - bytes_at_start_ + most < limits_.bytes_max + limits_.bytes_slack;
}

bool Scan::Deliver(Chunk* chunk) {
  const int64_t n = RowsLeft();
  if (n == 0) return true;
  if (!Ask(chunk, output_columns_)) return false;
  int64_t done = 0;
  const int64_t slice_max = CannotFill(*chunk) ? n : kSliceRows;
  while (done < n) {
    int64_t slice = std::min(slice_max, n - done);
    if (limits_.events_max >= 0)
      slice = std::min(slice, limits_.events_max - (result_.events - events_at_start_));
    if (slice > 0) {
      DeliverRows(chunk,
                  whole_ ? Rows{nullptr, first_row_ + done, slice} : Rows{kept_.data() + done, 0, slice});
      done += slice;
    }
    const bool enough = limits_.events_max >= 0 && result_.events - events_at_start_ >= limits_.events_max;
    if (!enough && !IsFull(limits_.bytes_slack)) continue;
    const int64_t next = done == 0 ? first_row_
                         : whole_  ? first_row_ + done
                                   : kept_[static_cast<size_t>(done - 1)] + 1;
    const int64_t events = chunk_events_[chunk->number];
    if (next >= events && chunk->number + 1 >= header_.n_chunks) return true;
    StopAt(chunk, next);
    cursor_ = next >= events ? (int64_t{chunk->number} + 1) << 32 : int64_t{chunk->number} << 32 | next;
    return false;
  }
  return true;
}

// ----------------------------------------------------------------------------------- column bytes
bool Scan::Ask(Chunk* chunk, const std::vector<int>& columns) {
  bool here = true;
  for (int c : columns) here &= AskOne(chunk, c);
  if (!here && limits_.lookahead_bytes > 0) LookAhead(columns);
  return here;
}

bool Scan::AskOne(Chunk* chunk, int column) {
  Slot& slot = chunk->slots[static_cast<size_t>(column)];
  if (slot.asked) return true;
  slot.asked = true;
  const ChunkEntry& entry = rows_[static_cast<size_t>(column)].chunks[chunk->number];
  if (!spare_.empty()) {
    slot.stored = std::move(spare_.back());
    spare_.pop_back();
  }
  slot.stored.Renew(entry.stored_bytes);
  report_.bytes_read += entry.stored_bytes;
  if (entry.stored_bytes == 0) return true;
  Need({entry.offset, entry.offset + entry.stored_bytes}, slot.stored.data());
  return false;
}

// Asks for the same columns of later chunks that the zone maps let through.
void Scan::LookAhead(const std::vector<int>& columns) {
  uint64_t asked = 0;
  const uint32_t end = std::min(header_.n_chunks, chunk_ + 1 + kChunksAheadMax);
  for (uint32_t number = chunk_ + 1; number < end && asked < limits_.lookahead_bytes; ++number) {
    Chunk& chunk = ChunkAt(number);
    Judge(&chunk);
    if (chunk.pruned) continue;
    for (int c : columns) {
      if (chunk.slots[static_cast<size_t>(c)].asked) continue;
      asked += rows_[static_cast<size_t>(c)].chunks[number].stored_bytes;
      AskOne(&chunk, c);
    }
  }
}

std::string Scan::Where(const Chunk& chunk, int column) const {
  return "column '" + program_.columns[static_cast<size_t>(column)].name + "', chunk " +
         std::to_string(chunk.number) + ": ";
}

void Scan::Decode(Chunk* chunk, int column) {
  Slot& slot = chunk->slots[static_cast<size_t>(column)];
  if (slot.decoded) return;
  evaluator_.CheckTime();
  const ColumnRow& row = rows_[static_cast<size_t>(column)];
  const ChunkEntry& entry = row.chunks[chunk->number];
  try {
    CheckStored(slot.stored.bytes(), entry);
    Bytes values = Decoder::InPlace(slot.stored.bytes(), entry, header_.codec, row.dtype);
    // Values are read through typed pointers: in place only where they are aligned.
    if (values.empty() || reinterpret_cast<uintptr_t>(values.data()) % SizeOf(row.dtype) != 0) {
      const size_t size = size_t{entry.n_values} * SizeOf(row.dtype);
      if (slot.values.data() == nullptr && !spare_.empty()) {
        slot.values = std::move(spare_.back());
        spare_.pop_back();
      }
      slot.values.Renew(std::max<size_t>(size, 1));
      decoder_.Decode(slot.stored.bytes(), entry, header_.codec, row.dtype, slot.values.data());
      values = {slot.values.data(), size};
    }
    slot.view = {values.data(), entry.n_values};
    if (row.kind == ColumnKind::kOffsets) {
      const auto* offsets = reinterpret_cast<const int32_t*>(values.data());
      if (!Kernels().check_offsets(offsets, entry.n_values - 1)) Corrupt("the offsets fall");
      // No column of elements need be read that would have to have as many.
      if (offsets[entry.n_values - 1] > static_cast<int32_t>(kChunkElementsMax)) {
        Corrupt("the lists claim more elements than any chunk may have");
      }
    }
  } catch (const Error& error) {
    throw Error(error.kind(), Where(*chunk, column) + error.what());
  }
  slot.decoded = true;
}

// Checks that a list's elements are as many as its offsets say, both being decoded.
void Scan::CheckList(Chunk* chunk, int column) {
  const ColumnRow& row = rows_[static_cast<size_t>(column)];
  if (row.kind != ColumnKind::kListElement) return;
  for (int c : all_columns_) {
    if (row_index_[static_cast<size_t>(c)] != row.offsets_index) continue;
    const ColumnValues& offsets = chunk->slots[static_cast<size_t>(c)].view;
    if (reinterpret_cast<const int32_t*>(offsets.data)[offsets.n - 1] !=
        static_cast<int64_t>(row.chunks[chunk->number].n_values)) {
      Corrupt(Where(*chunk, column) + "the list has another number of elements than its offsets say");
    }
  }
}

void Scan::Recycle(Chunk* chunk) {
  for (Slot& slot : chunk->slots) {
    if (slot.stored.data() != nullptr) spare_.push_back(std::move(slot.stored));
    if (slot.values.data() != nullptr) spare_.push_back(std::move(slot.values));
  }
}

// ---------------------------------------------------------------------------------------- output
void Scan::DeliverRows(Chunk* chunk, const Rows& rows) {
  // Offsets first: the lists' elements are counted by them.
  for (int c : output_columns_) {
    if (program_.columns[static_cast<size_t>(c)].offsets) Decode(chunk, c);
  }
  for (int c : output_columns_) CheckList(chunk, c);
  DeliverLists(chunk, rows);
  for (size_t output : stored_outputs_) DeliverStored(chunk, output, rows);
  if (!computed_outputs_.empty()) DeliverComputed(chunk, rows);
  if (result_.keep_rows) {
    int64_t* to = reinterpret_cast<int64_t*>(result_.rows.Extend(8 * static_cast<size_t>(rows.n)));
    const int64_t first = place_.first_event + chunk_first_[chunk->number];
    for (int64_t i = 0; i < rows.n; ++i)
      to[i] = first + (rows.index != nullptr ? rows.index[i] : rows.first + i);
  }
  if (!result_.histograms.empty()) result_.FillHistograms(rows.n);
  result_.events += rows.n;
  report_.events_out += rows.n;
}

// The lists of groups that lie on stored lists; those of computed axes come with their values.
void Scan::DeliverLists(Chunk* chunk, const Rows& rows) {
  for (size_t g = 0; g < group_axis_.size(); ++g) {
    const Node& axis = program_.nodes[static_cast<size_t>(group_axis_[g])];
    if (axis.op != Op::kList) continue;
    const auto* offsets =
        reinterpret_cast<const int32_t*>(chunk->slots[static_cast<size_t>(axis.a)].view.data);
    if (rows.index != nullptr) {
      result_.AppendLists(static_cast<int>(g), offsets, rows.index, rows.n);
    } else {
      result_.AppendLists(static_cast<int>(g), offsets + rows.first, rows.n);
    }
  }
}

void Scan::DeliverStored(Chunk* chunk, size_t output, const Rows& rows) {
  const Node& node = program_.nodes[static_cast<size_t>(program_.outputs[output])];
  ResultColumn& column = result_.columns[output];
  const size_t width = SizeOf(node.dtype);
  Slot& slot = chunk->slots[static_cast<size_t>(node.a)];
  const ChunkEntry& entry = rows_[static_cast<size_t>(node.a)].chunks[chunk->number];
  const bool all =
      rows.index == nullptr && rows.first == 0 && rows.n == int64_t{chunk_events_[chunk->number]};
  if (all && !slot.decoded) {
    // Everything is wanted: decode it to where it goes.
    uint8_t* to = column.values.Extend(size_t{entry.n_values} * width);
    try {
      CheckStored(slot.stored.bytes(), entry);
      decoder_.Decode(slot.stored.bytes(), entry, header_.codec, node.dtype, to);
    } catch (const Error& error) {
      throw Error(error.kind(), Where(*chunk, node.a) + error.what());
    }
    column.AppendValid(nullptr, entry.n_values);
    return;
  }
  Decode(chunk, node.a);
  const uint8_t* from = slot.view.data;
  if (node.axis < 0) {
    uint8_t* to = column.values.Extend(static_cast<size_t>(rows.n) * width);
    if (rows.index != nullptr) {
      Kernels().gather(from, rows.index, rows.n, width, to);
    } else {
      std::memcpy(to, from + static_cast<size_t>(rows.first) * width, static_cast<size_t>(rows.n) * width);
    }
    column.AppendValid(nullptr, rows.n);
    return;
  }
  const int list = program_.nodes[static_cast<size_t>(node.axis)].a;
  const auto* offsets = reinterpret_cast<const int32_t*>(chunk->slots[static_cast<size_t>(list)].view.data);
  if (rows.index == nullptr) {
    const size_t begin = static_cast<size_t>(offsets[rows.first]);
    const size_t n = static_cast<size_t>(offsets[rows.first + rows.n]) - begin;
    uint8_t* to = column.values.Extend(n * width);
    if (n > 0) std::memcpy(to, from + begin * width, n * width);
    column.AppendValid(nullptr, static_cast<int64_t>(n));
    return;
  }
  size_t n = 0;
  for (int64_t i = 0; i < rows.n; ++i)
    n += static_cast<size_t>(offsets[rows.index[i] + 1] - offsets[rows.index[i]]);
  Kernels().copy_lists(from, offsets, rows.index, rows.n, width, column.values.Extend(n * width));
  column.AppendValid(nullptr, static_cast<int64_t>(n));
}

void Scan::DeliverComputed(Chunk* chunk, const Rows& rows) {
  std::vector<ColumnValues> columns(program_.columns.size());
  std::vector<int32_t> roots;
  for (size_t output : computed_outputs_) roots.push_back(program_.outputs[output]);
  for (int c : program_.ColumnsOf(roots)) {
    Decode(chunk, c);
    columns[static_cast<size_t>(c)] = chunk->slots[static_cast<size_t>(c)].view;
  }
  InBlocks(rows, [&](const Rows& block) {
    if (!evaluator_.Run(computed_order_, columns, block)) return false;
    for (size_t g = 0; g < group_axis_.size(); ++g) {
      if (program_.nodes[static_cast<size_t>(group_axis_[g])].op == Op::kList) continue;
      result_.AppendLists(static_cast<int>(g), evaluator_.ListsOf(group_axis_[g]).offsets, block.n);
    }
    for (size_t output : computed_outputs_) {
      const Value& value = evaluator_.ValueOf(program_.outputs[output]);
      ResultColumn& column = result_.columns[output];
      const size_t size = static_cast<size_t>(value.n) * SizeOf(column.dtype);
      uint8_t* to = column.values.Extend(size);
      if (size > 0) std::memcpy(to, value.data, size);
      column.AppendValid(value.valid, value.n);
    }
    return true;
  });
}

}  // namespace skyhook
