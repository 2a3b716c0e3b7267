#include "wire.h"

#include <algorithm>

#include "selection.h"

namespace skyhook {
namespace {

constexpr size_t kRequestHeaderBytes = 80;
constexpr size_t kReplyHeaderBytes = 128;
constexpr size_t kColumnBytes = 24;
constexpr uint64_t kAlignment = 64;
// Flags of a request.
constexpr uint32_t kKeepRows = 1, kPackRows = 2, kSelects = 4;
// Of an answer that tells which counts of terms are whole.
constexpr uint32_t kTellsPartial = 1;
// How an answer has event numbers.
constexpr uint32_t kNoRows = 0, kPlainRows = 1, kPackedRows = 2;

uint64_t Aligned(uint64_t at) { return (at + kAlignment - 1) & ~(kAlignment - 1); }

// What a request to verify has in a program's place, and what its answer has behind the header.
constexpr size_t kVerifyStateBytes = 8 + sizeof(Sha256::State);
constexpr size_t kVerifyAnswerBytes = sizeof(Sha256::State) + 8;

template <typename T>
void Store(Buffer* to, size_t at, T value) {
  std::memcpy(to->data() + at, &value, sizeof(T));
}

// A frame whose first `cleared` bytes are zero but for what every answer begins with.
Buffer NewFrame(size_t size, size_t cleared, uint32_t error) {
  Buffer frame;
  std::memset(frame.Renew(size), 0, cleared);
  std::memcpy(frame.data(), "SKYANSW1", 8);
  Store(&frame, 8, kWireVersion);
  Store(&frame, 12, error);
  return frame;
}

void StoreReport(Buffer* frame, const ScanReport& report) {
  const int64_t counts[] = {report.events_in,     report.events_out, report.chunks,
                            report.chunks_pruned, report.bytes_read, report.bytes_total};
  for (size_t i = 0; i < 6; ++i) Store(frame, 48 + 8 * i, counts[i]);
  Store(frame, 96, report.seconds_read);
  Store(frame, 104, report.seconds_compute);
}

// Reads fields and buffers of a frame, none past its end.
class FrameReader {
 public:
  explicit FrameReader(Bytes frame) : frame_(frame) {}
  template <typename T>
  T At(uint64_t at) const {
    return Load<T>(Range(at, sizeof(T)).data());
  }
  Bytes Range(uint64_t at, uint64_t size) const {
    if (at > frame_.size() || size > frame_.size() - at) Corrupt("the answer is cut short");
    return frame_.subspan(at, size);
  }
  // The next aligned buffer.
  Bytes Next(uint64_t size) {
    const uint64_t at = Aligned(next_);
    const Bytes bytes = Range(at, size);
    next_ = at + size;
    return bytes;
  }
  void SkipTo(uint64_t at) { next_ = at; }

 private:
  Bytes frame_;
  uint64_t next_ = 0;
};

void Append(GrowingBuffer* to, Bytes from) {
  if (!from.empty()) std::memcpy(to->Extend(from.size()), from.data(), from.size());
}

}  // namespace

ScanRequest DecodeRequest(Bytes data) {
  if (data.size() > kRequestBytesMax) {
    throw Error(Kind::kResourceExhausted,
                "the request has " + std::to_string(data.size()) + " bytes; 1 MiB are allowed");
  }
  if (data.size() < kRequestHeaderBytes || std::memcmp(data.data(), "SKYSCAN1", 8) != 0)
    Invalid("this is no scan request");
  const uint8_t* at = data.data();
  const uint32_t version = Load<uint32_t>(at + 8);
  if (version != kWireVersion) {
    Invalid("request version " + std::to_string(version) + "; this engine speaks version " +
            std::to_string(kWireVersion));
  }
  ScanRequest request;
  const uint32_t flags = Load<uint32_t>(at + 12);
  request.keep_rows = (flags & kKeepRows) != 0;
  request.pack_rows = (flags & kPackRows) != 0;
  request.selects = (flags & kSelects) != 0;
  request.place = {Load<uint64_t>(at + 16), Load<uint64_t>(at + 24), Load<int64_t>(at + 32)};
  request.limits.cursor = Load<int64_t>(at + 40);
  request.limits.events_max = Load<int64_t>(at + 48);
  const int64_t bytes_max = Load<int64_t>(at + 56);
  request.limits.bytes_max = bytes_max < 0 ? kReplyBytesMax : std::min(bytes_max, kReplyBytesMax);
  request.limits.bytes_slack = std::min(request.limits.bytes_max, kReplySlackBytes);
  const uint32_t milliseconds = Load<uint32_t>(at + 64);
  request.limits.milliseconds_max =
      milliseconds == 0 ? kMillisecondsMax : std::min(milliseconds, kMillisecondsMax);
  const uint64_t outputs = Load<uint32_t>(at + 68);
  const uint64_t program_bytes = Load<uint32_t>(at + 72);
  const uint64_t histogram_bytes = Load<uint32_t>(at + 76);
  const uint64_t named_bytes = kRequestHeaderBytes + outputs * 4 + program_bytes + histogram_bytes;
  if (outputs > kColumnsMax || data.size() < named_bytes || (data.size() > named_bytes && !request.selects)) {
    Invalid("the request's length contradicts its header");
  }
  at += kRequestHeaderBytes;
  for (uint64_t i = 0; i < outputs; ++i, at += 4) {
    if (at[0] >= kDTypes) Invalid("an output has an unknown dtype");
    request.dtypes.push_back(static_cast<DType>(at[0]));
    request.groups.push_back(Load<int16_t>(at + 2));
  }
  request.program = {at, program_bytes};
  request.histograms = {at + program_bytes, histogram_bytes};
  request.selection = data.subspan(named_bytes);
  return request;
}

Buffer EncodeReply(const Result& result, int64_t cursor, bool pack_rows) {
  std::vector<uint8_t> packed;
  if (pack_rows && result.keep_rows) {
    packed = Selection::Encode(reinterpret_cast<const int64_t*>(result.rows.data()), result.rows.size() / 8);
  }
  const bool is_packed = !packed.empty();
  const Bytes rows = is_packed ? Bytes(packed) : Bytes(result.rows.data(), result.rows.size());
  // Filled histograms stand for the columns.
  const bool filled = !result.histograms.empty();
  const size_t n_terms = result.report.passed.size(), n_columns = filled ? 0 : result.columns.size();
  const size_t n_groups = filled ? 0 : result.groups.size();
  const uint64_t tables_end = kReplyHeaderBytes + 8 * n_terms + kColumnBytes * n_columns;
  uint64_t size = tables_end;
  const auto add = [&size](uint64_t bytes) { size = Aligned(size) + bytes; };
  add(rows.size());
  for (size_t g = 0; g < n_groups; ++g) add(result.groups[g].size());
  for (size_t i = 0; i < n_columns; ++i) {
    add(result.columns[i].values.size());
    add(result.columns[i].valid.size());
  }
  for (const Histogram& histogram : result.histograms) {
    add(8 * histogram.sums.size());
    add(8 * histogram.squares.size());
  }
  add(n_terms);
  Buffer frame = NewFrame(size, tables_end, 0);
  Store(&frame, 16, cursor);
  Store(&frame, 24, result.events);
  Store(&frame, 32, static_cast<uint32_t>(n_columns));
  Store(&frame, 36, static_cast<uint32_t>(n_groups));
  Store(&frame, 112, static_cast<uint32_t>(result.histograms.size()));
  Store(&frame, 40, static_cast<uint32_t>(n_terms));
  Store(&frame, 44, !result.keep_rows ? kNoRows : is_packed ? kPackedRows : kPlainRows);
  Store(&frame, 116, static_cast<uint32_t>(packed.size()));
  Store(&frame, 120, kTellsPartial);
  StoreReport(&frame, result.report);
  uint64_t at = kReplyHeaderBytes;
  for (int64_t passed : result.report.passed) {
    Store(&frame, at, passed);
    at += 8;
  }
  for (size_t i = 0; i < n_columns; ++i) {
    const ResultColumn& column = result.columns[i];
    Store(&frame, at, static_cast<uint8_t>(column.dtype));
    Store(&frame, at + 1, uint8_t{column.has_valid});
    Store(&frame, at + 4, static_cast<int32_t>(column.group));
    Store(&frame, at + 8, uint64_t{column.values.size()});
    Store(&frame, at + 16, uint64_t{column.valid.size()});
    at += kColumnBytes;
  }
  const auto put = [&](const void* from, size_t bytes) {
    std::memset(frame.data() + at, 0, Aligned(at) - at);
    at = Aligned(at);
    if (bytes > 0) std::memcpy(frame.data() + at, from, bytes);
    at += bytes;
  };
  put(rows.data(), rows.size());
  for (size_t g = 0; g < n_groups; ++g) put(result.groups[g].data(), result.groups[g].size());
  for (size_t i = 0; i < n_columns; ++i) {
    put(result.columns[i].values.data(), result.columns[i].values.size());
    put(result.columns[i].valid.data(), result.columns[i].valid.size());
  }
  for (const Histogram& histogram : result.histograms) {
    put(histogram.sums.data(), 8 * histogram.sums.size());
    put(histogram.squares.data(), 8 * histogram.squares.size());
  }
  std::vector<uint8_t> partial(n_terms);
  for (size_t i = 0; i < n_terms; ++i) partial[i] = result.report.IsPartial(i);
  put(partial.data(), n_terms);
  return frame;
}

Buffer EncodeError(Kind kind, const std::string& message) {
  Buffer frame =
      NewFrame(kReplyHeaderBytes + message.size(), kReplyHeaderBytes, static_cast<uint32_t>(kind) + 1);
  std::memcpy(frame.data() + kReplyHeaderBytes, message.data(), message.size());
  return frame;
}

namespace {

// The event numbers that an answer has as a selection.
std::vector<int64_t> UnpackRows(Bytes packed, int64_t events) {
  try {
    const Selection selection(packed);
    if (selection.count() == events) return selection.Events();
  } catch (const Error& error) {
    Corrupt(std::string("the answer's event numbers: ") + error.what());
  }
  Corrupt("the answer has another number of event numbers than of events");
}

// Takes from an answer which counts of terms are partial. An older class does not tell: then all may be but
// the last, if zone maps ruled anything out.
void ReadPartial(Bytes told, ScanReport* report) {
  const size_t n = report->passed.size();
  if (told.empty() && report->chunks_pruned == 0) return;
  for (size_t i = 0; i < n; ++i) {
    if (told.empty() ? i + 1 < n : told[i] != 0) report->SetPartial(i);
  }
}

}  // namespace

int64_t AppendReply(Bytes frame, Result* result) {
  FrameReader reader(frame);
  if (std::memcmp(reader.Range(0, kReplyHeaderBytes).data(), "SKYANSW1", 8) != 0)
    Corrupt("this is no answer to a scan");
  if (reader.At<uint32_t>(8) != kWireVersion) Invalid("the answer is of another version");
  if (const uint32_t kind = reader.At<uint32_t>(12); kind != 0) {
    const Bytes text = frame.subspan(kReplyHeaderBytes);
    if (kind > static_cast<uint32_t>(Kind::kStore) + 1) Corrupt("the answer tells of an unknown error");
    throw Error(static_cast<Kind>(kind - 1), std::string(text.begin(), text.end()));
  }
  const int64_t events = reader.At<int64_t>(24);
  const uint64_t n_columns = reader.At<uint32_t>(32), n_groups = reader.At<uint32_t>(36);
  const uint64_t n_terms = reader.At<uint32_t>(40);
  const uint32_t row_form = reader.At<uint32_t>(44);
  const bool filled = !result->histograms.empty();
  if (n_columns != (filled ? 0 : result->columns.size()) ||
      n_groups != (filled ? 0 : result->groups.size()) ||
      reader.At<uint32_t>(112) != result->histograms.size() || row_form > kPackedRows ||
      (row_form != kNoRows) != result->keep_rows || events < 0 || events > (int64_t{1} << 32) ||
      n_terms > kNodesMax) {
    Corrupt("the answer does not fit the question");
  }
  ScanReport report;
  int64_t* const counts[] = {&report.events_in,     &report.events_out, &report.chunks,
                             &report.chunks_pruned, &report.bytes_read, &report.bytes_total};
  for (size_t i = 0; i < 6; ++i) *counts[i] = reader.At<int64_t>(48 + 8 * i);
  report.seconds_read = reader.At<double>(96);
  report.seconds_compute = reader.At<double>(104);
  for (uint64_t i = 0; i < n_terms; ++i)
    report.passed.push_back(reader.At<int64_t>(kReplyHeaderBytes + 8 * i));
  const uint64_t table = kReplyHeaderBytes + 8 * n_terms;
  const auto entry = [&](uint64_t i) { return table + i * kColumnBytes; };
  reader.SkipTo(entry(n_columns));

  // Everything is checked before anything is appended.
  const uint64_t n_events = static_cast<uint64_t>(events);
  const uint64_t packed_bytes = reader.At<uint32_t>(116);
  Bytes rows = reader.Next(row_form == kPackedRows  ? packed_bytes
                           : row_form == kPlainRows ? 8 * n_events
                                                    : 0);
  std::vector<int64_t> unpacked;
  if (row_form == kPackedRows) {
    unpacked = UnpackRows(rows, events);
    rows = {reinterpret_cast<const uint8_t*>(unpacked.data()), 8 * unpacked.size()};
  }
  std::vector<Bytes> offsets;
  for (uint64_t g = 0; g < n_groups; ++g) {
    offsets.push_back(reader.Next(8 * (n_events + 1)));
    for (uint64_t i = 0; i < n_events; ++i) {
      if (Load<int64_t>(offsets[g].data() + 8 * i + 8) < Load<int64_t>(offsets[g].data() + 8 * i)) {
        Corrupt("the answer's offsets fall");
      }
    }
    if (Load<int64_t>(offsets[g].data()) != 0) Corrupt("the answer's offsets do not begin at 0");
  }
  std::vector<Bytes> values, valid;
  for (uint64_t i = 0; i < n_columns; ++i) {
    const ResultColumn& column = result->columns[i];
    values.push_back(reader.Next(reader.At<uint64_t>(entry(i) + 8)));
    valid.push_back(reader.Next(reader.At<uint64_t>(entry(i) + 16)));
    const bool has_valid = reader.At<uint8_t>(entry(i) + 1) != 0;
    const uint64_t n = column.group < 0
                           ? n_events
                           : static_cast<uint64_t>(Load<int64_t>(
                                 offsets[static_cast<size_t>(column.group)].data() + 8 * n_events));
    if (reader.At<uint8_t>(entry(i)) != static_cast<uint8_t>(column.dtype) ||
        reader.At<int32_t>(entry(i) + 4) != column.group || n > frame.size() ||
        values[i].size() != n * SizeOf(column.dtype) || valid[i].size() != (has_valid ? n : 0)) {
      Corrupt("the answer's columns do not fit the question");
    }
  }
  // The bins come in the order in which the histograms were asked for.
  std::vector<Histogram> more = result->histograms;
  for (Histogram& histogram : more) {
    for (std::vector<double>* bins : {&histogram.sums, &histogram.squares}) {
      const Bytes from = reader.Next(8 * bins->size());
      if (!from.empty()) std::memcpy(bins->data(), from.data(), from.size());
    }
  }
  ReadPartial(reader.At<uint32_t>(120) == kTellsPartial ? reader.Next(n_terms) : Bytes(), &report);
  for (size_t h = 0; h < more.size(); ++h) result->histograms[h].Add(more[h]);
  Append(&result->rows, rows);
  for (uint64_t g = 0; g < n_groups; ++g)
    result->AppendOffsets(static_cast<int>(g), offsets[g].data(), events);
  for (uint64_t i = 0; i < n_columns; ++i) {
    ResultColumn& column = result->columns[i];
    Append(&column.values, values[i]);
    const bool has_valid = reader.At<uint8_t>(entry(i) + 1) != 0;
    column.AppendValid(has_valid ? valid[i].data() : nullptr,
                       static_cast<int64_t>(values[i].size() / SizeOf(column.dtype)));
  }
  result->events += events;
  result->report.Add(report);
  return reader.At<int64_t>(16);
}

namespace {

// Runs `answer` and makes a frame of what it throws.
template <typename F>
Buffer Guarded(F answer) noexcept {
  try {
    try {
      return answer();
    } catch (const Error& error) {
      return EncodeError(error.kind(), error.what());
    } catch (const std::bad_alloc&) {
      return EncodeError(Kind::kResourceExhausted, "the server has no memory left for this scan");
    } catch (const std::exception& error) {
      return EncodeError(Kind::kInvalidRequest, error.what());
    }
  } catch (...) {
    return {};  // not even the error could be written
  }
}

Verification DecodeVerification(const ScanRequest& request) {
  if (request.program.size() != kVerifyStateBytes || !request.dtypes.empty() || request.limits.cursor < 0)
    Invalid("this is no request to verify");
  Verification verification;
  verification.place = request.place;
  verification.object_bytes = Load<uint64_t>(request.program.data());
  verification.cursor = static_cast<uint64_t>(request.limits.cursor);
  if (verification.cursor > 0) verification.sha = Sha256(Load<Sha256::State>(request.program.data() + 8));
  return verification;
}

Buffer EncodeVerification(const Verification& verification, uint64_t bytes_read) {
  const size_t size = kReplyHeaderBytes + kVerifyAnswerBytes;
  Buffer frame = NewFrame(size, size, 0);
  Store(&frame, 16, verification.done() ? int64_t{-1} : static_cast<int64_t>(verification.cursor));
  ScanReport report;
  report.events_in = static_cast<int64_t>(verification.events);
  report.chunks = verification.chunks;
  report.bytes_read = static_cast<int64_t>(bytes_read);
  StoreReport(&frame, report);
  Store(&frame, kReplyHeaderBytes, verification.sha.state());
  Store(&frame, kReplyHeaderBytes + sizeof(Sha256::State), verification.names_checksum);
  return frame;
}

}  // namespace

Buffer AnswerScan(Bytes data, const ReadRange& read) noexcept {
  return Guarded([&] {
    const ScanRequest request = DecodeRequest(data);
    const Program program = DecodeProgram(request.program);
    Result result(request.dtypes, request.groups, request.keep_rows);
    result.histograms = DecodeHistograms(request.histograms, request.dtypes.size());
    ScanLimits limits = request.limits;
    const Selection selection = request.selects ? Selection(request.selection) : Selection();
    if (request.selects) limits.selection = &selection;
    Scan scan(program, request.place, limits, &result);
    Scan::Step step;
    while ((step = scan.Advance()) == Scan::Step::kNeed) ReadJoined(scan.needs(), scan.places(), read);
    return EncodeReply(result, step == Scan::Step::kPaused ? scan.cursor() : -1, request.pack_rows);
  });
}

Buffer AnswerVerify(Bytes data, const ReadRange& read) noexcept {
  return Guarded([&] {
    const ScanRequest request = DecodeRequest(data);
    Verification verification = DecodeVerification(request);
    const uint64_t before = verification.cursor;
    Verify(read, request.limits.milliseconds_max, &verification);
    return EncodeVerification(verification, verification.cursor - before);
  });
}

}  // namespace skyhook
