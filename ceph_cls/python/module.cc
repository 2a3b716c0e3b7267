// The Python module skyhook_casa._engine; its contract is skyhook_casa/_engine.pyi.
#include <fcntl.h>
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "engine/kernels.h"
#include "engine/result.h"
#include "engine/scan.h"
#include "engine/selection.h"
#include "engine/wire.h"
#include "python/arrays.h"
#include "python/arrow_export.h"
#include "python/arrow_import.h"
#include "python/buffers.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace skyhook {
namespace {

const char* kNames[kDTypes] = {"bool",   "int8",  "uint8",  "int16",   "uint16", "int32",
                               "uint32", "int64", "uint64", "float32", "float64"};

DType DTypeOf(const std::string& name) {
  for (int i = 0; i < kDTypes; ++i) {
    if (name == kNames[i]) return static_cast<DType>(i);
  }
  Invalid("'" + name + "' is no dtype of this project");
}

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class File {
 public:
  explicit File(const std::string& path)
      : path_(path), descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) Fail("cannot open");
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { close(descriptor_); }

  void Read(ByteRange range, uint8_t* to) const {
    uint64_t done = 0;
    while (done < range.size()) {
      const ssize_t n =
          pread(descriptor_, to + done, range.size() - done, static_cast<off_t>(range.start + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) Fail("cannot read");
      if (n == 0) Corrupt("the object is shorter than its directory says");
      done += static_cast<uint64_t>(n);
    }
  }

 private:
  [[noreturn]] void Fail(const char* what) const {
    throw Error(Kind::kStore, std::string(what) + " " + path_ + ": " + std::strerror(errno));
  }
  std::string path_;
  int descriptor_;
};

// A decoded program; scans share it.
class PyScan {
 public:
  explicit PyScan(nb::bytes program)
      : program_(DecodeProgram({reinterpret_cast<const uint8_t*>(program.c_str()), program.size()})) {}

  // `read` fills the places of all needs of the scan.
  template <typename Read>
  int64_t Run(const ObjectPlace& place, const ScanLimits& limits, Result* result, Read read) const {
    const double start = Seconds();
    double reading = 0;
    Scan scan(program_, place, limits, result);
    Scan::Step step;
    while ((step = scan.Advance()) == Scan::Step::kNeed) {
      const double before = Seconds();
      read(&scan);
      reading += Seconds() - before;
    }
    result->report.seconds_read += reading;
    result->report.seconds_compute += Seconds() - start - reading;
    return step == Scan::Step::kPaused ? scan.cursor() : -1;
  }

  int64_t RunFile(const std::string& path, uint64_t directory_start, uint64_t directory_bytes, Result& result,
                  int64_t first_event, int64_t cursor, int64_t events_max, int64_t bytes_max) const {
    nb::gil_scoped_release release;
    const File file(path);
    return Run({directory_start, directory_bytes, first_event}, {cursor, events_max, bytes_max, 0}, &result,
               [&](Scan* scan) {
                 for (size_t i = 0; i < scan->needs().size(); ++i)
                   file.Read(scan->needs()[i], scan->Place(i));
               });
  }

  int64_t RunRanges(nb::callable read, uint64_t directory_start, uint64_t directory_bytes, Result& result,
                    int64_t first_event, int64_t cursor, int64_t events_max, int64_t bytes_max,
                    uint64_t lookahead_bytes) const {
    nb::gil_scoped_release release;
    const ScanLimits limits{cursor, events_max, bytes_max, lookahead_bytes};
    return Run({directory_start, directory_bytes, first_event}, limits, &result, [&](Scan* scan) {
      nb::gil_scoped_acquire acquire;
      std::vector<std::pair<uint64_t, uint64_t>> ranges;
      for (const ByteRange& range : scan->needs()) ranges.emplace_back(range.start, range.stop);
      nb::sequence parts = nb::cast<nb::sequence>(read(ranges));
      if (nb::len(parts) != ranges.size()) Invalid("read() gave another number of buffers than asked");
      for (size_t i = 0; i < ranges.size(); ++i) {
        const ReadBuffer part(parts[i]);
        if (part.bytes().size() != scan->needs()[i].size()) {
          Corrupt("the object is shorter than its directory says");
        }
        std::memcpy(scan->Place(i), part.bytes().data(), part.bytes().size());
      }
    });
  }

 private:
  Program program_;
};

template <typename T>
const T& Element(const std::vector<T>& items, int64_t i, const char* what) {
  if (i < 0 || static_cast<size_t>(i) >= items.size()) Invalid(std::string("there is no such ") + what);
  return items[static_cast<size_t>(i)];
}

nb::object Values(nb::handle_t<Result> self, int64_t i) {
  const ResultColumn& column = Element(nb::cast<Result&>(self).columns, i, "output");
  return ArrayOf(self, column.values.data(), static_cast<size_t>(column.n()), DlpackOf(column.dtype));
}

nb::object Valid(nb::handle_t<Result> self, int64_t i) {
  const ResultColumn& column = Element(nb::cast<Result&>(self).columns, i, "output");
  if (!column.has_valid) return nb::none();
  return ArrayOf(self, column.valid.data(), column.valid.size(), nb::dtype<bool>());
}

nb::object Offsets(nb::handle_t<Result> self, int64_t group) {
  const GrowingBuffer& offsets = Element(nb::cast<Result&>(self).groups, group, "group");
  return ArrayOf(self, offsets.data(), offsets.size() / 8, nb::dtype<int64_t>());
}

nb::object RowsKept(nb::handle_t<Result> self) {
  const Result& result = nb::cast<Result&>(self);
  if (!result.keep_rows) Invalid("this result does not keep event numbers: make it with rows=True");
  return ArrayOf(self, result.rows.data(), result.rows.size() / 8, nb::dtype<int64_t>());
}

// The sums of weights of one histogram, and of squared weights if it has weights.
nb::object BinsOf(nb::handle_t<Result> self, int64_t number) {
  const Histogram& histogram = Element(nb::cast<Result&>(self).histograms, number, "histogram");
  const nb::dlpack::dtype dtype = nb::dtype<double>();
  nb::object squares = nb::none();
  if (histogram.weight >= 0)
    squares = ArrayOf(self, histogram.squares.data(), histogram.squares.size(), dtype);
  return nb::make_tuple(ArrayOf(self, histogram.sums.data(), histogram.sums.size(), dtype), squares);
}

nb::dict Report(const Result& result) {
  const ScanReport& report = result.report;
  nb::dict d;
  d["events_in"] = report.events_in;
  d["events_out"] = report.events_out;
  nb::list passed;
  for (size_t i = 0; i < report.passed.size(); ++i)
    passed.append(report.IsPartial(i) ? nb::none() : nb::cast(report.passed[i]));
  d["passed"] = passed;
  d["chunks"] = report.chunks;
  d["chunks_pruned"] = report.chunks_pruned;
  d["bytes_read"] = report.bytes_read;
  d["bytes_total"] = report.bytes_total;
  d["seconds_read"] = report.seconds_read;
  d["seconds_compute"] = report.seconds_compute;
  return d;
}

// What the object class would answer, for stores that stand in for one.
nb::bytes AnswerOf(const std::string& method, nb::bytes request, nb::callable read) {
  const auto answer = method == "scan" ? AnswerScan : method == "verify" ? AnswerVerify : nullptr;
  if (answer == nullptr) Invalid("the object class has no method '" + method + "'");
  const Bytes bytes(reinterpret_cast<const uint8_t*>(request.c_str()), request.size());
  std::optional<ReadBuffer> part;  // of the last read
  const Buffer frame = answer(bytes, [&](ByteRange range) {
    part.reset();
    part.emplace(read(range.start, range.stop));
    if (part->bytes().size() != range.size()) Corrupt("the object is shorter than its directory says");
    return part->bytes();
  });
  return nb::bytes(reinterpret_cast<const char*>(frame.data()), frame.size());
}

// Takes the place of a report; what it does not name is 0.
ScanReport ReportFrom(const nb::dict& d) {
  ScanReport report;
  report.events_in = nb::cast<int64_t>(d["events_in"]);
  report.events_out = nb::cast<int64_t>(d["events_out"]);
  for (nb::handle passed : d["passed"]) {
    if (passed.is_none()) report.SetPartial(report.passed.size());
    report.passed.push_back(passed.is_none() ? 0 : nb::cast<int64_t>(passed));
  }
  report.chunks = nb::cast<int64_t>(d["chunks"]);
  report.chunks_pruned = nb::cast<int64_t>(d["chunks_pruned"]);
  report.bytes_read = nb::cast<int64_t>(d["bytes_read"]);
  report.bytes_total = nb::cast<int64_t>(d["bytes_total"]);
  report.seconds_read = nb::cast<double>(d["seconds_read"]);
  report.seconds_compute = nb::cast<double>(d["seconds_compute"]);
  return report;
}

// `report` stands in for that of the other, whose scan was only the last step; `rows` for its event numbers,
// which count them.
void AppendPiece(Result& self, const Result& other, const nb::dict& report, nb::object rows) {
  const ScanReport given = ReportFrom(report);
  const ReadBuffer buffer(rows);
  const Bytes numbers = buffer.bytes();
  const size_t n = other.rows.size() / 8;
  for (size_t i = 0; i < n; ++i) {
    if (Load<uint64_t>(other.rows.data() + 8 * i) >= numbers.size() / 8)
      Invalid("there are fewer event numbers than events");
  }
  ScanReport before = self.report;
  const size_t first = self.rows.size();
  self.Append(other);
  self.report = std::move(before);
  self.report.Add(given);
  for (size_t i = 0; i < n; ++i) {
    uint8_t* place = self.rows.data() + first + 8 * i;
    std::memcpy(place, numbers.data() + 8 * Load<uint64_t>(place), 8);
  }
}

nb::bytes CodedSelection(nb::object events) {
  const ReadBuffer buffer(events);
  const std::vector<uint8_t> coded = Selection::Encode(
      reinterpret_cast<const int64_t*>(buffer.bytes().data()), buffer.bytes().size() / sizeof(int64_t));
  if (coded.empty()) {
    Invalid("the events to select lie more than " + std::to_string(kSelectionEventsMax) + " apart");
  }
  return nb::bytes(reinterpret_cast<const char*>(coded.data()), coded.size());
}

// Raises the class of skyhook_casa.errors that stands for the engine's kind of error.
void Raise(const Error& error) {
  static const char* const kClasses[] = {"InvalidRequest", "CorruptObject", "ResourceExhausted",
                                         "StoreError"};
  const nb::object type =
      nb::module_::import_("skyhook_casa.errors").attr(kClasses[static_cast<int>(error.kind())]);
  PyErr_SetString(type.ptr(), error.what());
}

}  // namespace
}  // namespace skyhook

NB_MODULE(_engine, m) {
  using namespace skyhook;
  // Arrays held at the interpreter's end keep results alive; that is no leak worth a user's notice.
  nb::set_leak_warnings(false);
  nb::register_exception_translator([](const std::exception_ptr& p, void*) {
    try {
      std::rethrow_exception(p);
    } catch (const Error& error) {
      Raise(error);
    }
  });
  m.attr("KERNELS") = Kernels().name;
  m.attr("ABILITIES") = kAbilities;
  m.attr("SELECTION_EVENTS_MAX") = kSelectionEventsMax;
  m.def("answer", AnswerOf, "method"_a, "request"_a, "read"_a);
  m.def("encode_selection", CodedSelection, "events"_a);

  nb::class_<Result>(m, "Result")
      .def(
          "__init__",
          [](Result* self, const std::vector<std::string>& dtypes, const std::vector<int>& groups, bool rows,
             nb::bytes histograms) {
            std::vector<DType> codes;
            for (const std::string& name : dtypes) codes.push_back(DTypeOf(name));
            const Bytes described(reinterpret_cast<const uint8_t*>(histograms.c_str()), histograms.size());
            std::vector<Histogram> empty = DecodeHistograms(described, codes.size());
            new (self) Result(std::move(codes), groups, rows);
            self->histograms = std::move(empty);
          },
          "dtypes"_a, "groups"_a, "rows"_a = false, "histograms"_a = nb::bytes("", 0))
      .def("histogram", &BinsOf, "number"_a)
      .def_prop_ro("events", [](const Result& r) { return r.events; })
      .def_prop_ro("nbytes", &Result::nbytes)
      .def_prop_ro("keeps_rows", [](const Result& r) { return r.keep_rows; })
      .def("values", &Values, "output"_a)
      .def("valid", &Valid, "output"_a)
      .def("offsets", &Offsets, "group"_a)
      .def("rows", &RowsKept)
      .def("append", &Result::Append, "other"_a, nb::call_guard<nb::gil_scoped_release>())
      .def("append_piece", &AppendPiece, "other"_a, "report"_a, "rows"_a)
      .def("report", &Report)
      .def_prop_ro("chunks", [](const Result& r) { return r.report.chunks; })
      .def_prop_ro("chunks_pruned", [](const Result& r) { return r.report.chunks_pruned; })
      .def_prop_ro("bytes_read", [](const Result& r) { return r.report.bytes_read; })
      .def("wire_batch", &WireBatchOf, "fields"_a, "start"_a, "stop"_a, "take"_a)
      .def(
          "append_answer",
          [](Result& self, nb::object frame) { return AppendReply(ReadBuffer(frame).bytes(), &self); },
          "frame"_a);
  nb::class_<WireForm>(m, "WireForm")
      .def(
          "__init__",
          [](WireForm* self, const std::vector<std::string>& names, const std::vector<WireField>& fields,
             const std::vector<std::string>& dtypes, bool rows) {
            std::vector<DType> codes;
            for (const std::string& name : dtypes) codes.push_back(DTypeOf(name));
            new (self) WireForm(names, fields, std::move(codes), rows);
          },
          "names"_a, "fields"_a, "dtypes"_a, "rows"_a = false)
      .def("open", &WireForm::Open, "give"_a);
  nb::class_<PyScan>(m, "Scan")
      .def(nb::init<nb::bytes>(), "program"_a)
      .def("run_file", &PyScan::RunFile, "path"_a, "directory_start"_a, "directory_bytes"_a, "result"_a,
           "first_event"_a = 0, "cursor"_a = 0, "events_max"_a = -1, "bytes_max"_a = -1)
      .def("run_ranges", &PyScan::RunRanges, "read"_a, "directory_start"_a, "directory_bytes"_a, "result"_a,
           "first_event"_a = 0, "cursor"_a = 0, "events_max"_a = -1, "bytes_max"_a = -1,
           "lookahead_bytes"_a = 0);
}
