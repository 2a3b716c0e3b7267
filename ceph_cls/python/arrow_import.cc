#include "python/arrow_import.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "engine/bytes.h"
#include "python/arrays.h"
#include "python/arrow_c_data.h"

namespace nb = nanobind;

namespace skyhook {
namespace {

// Some values of an array, by their places in its buffers.
struct Range {
  int64_t start = 0;
  int64_t n = 0;
};

bool IsSet(const uint8_t* bits, int64_t i) { return (bits[i / 8] >> (i % 8) & 1) != 0; }

// An array with its own memory, which it frees.
template <typename T>
nb::object Owned(std::unique_ptr<T[]> values, size_t n) {
  const nb::capsule owner(values.get(), [](void* p) noexcept { delete[] static_cast<T*>(p); });
  return ArrayOf(owner, values.release(), n, nb::dtype<T>());
}

nb::object Unpacked(const uint8_t* bits, Range range) {
  std::unique_ptr<bool[]> values(new bool[static_cast<size_t>(range.n)]);
  for (int64_t i = 0; i < range.n; ++i) values[static_cast<size_t>(i)] = IsSet(bits, range.start + i);
  return Owned(std::move(values), static_cast<size_t>(range.n));
}

// Whether offsets, as many as there are lists and one, rise. They may lie anywhere: what came over the
// network need not be aligned.
bool Rise(const uint8_t* offsets, int64_t lists) {
  int32_t falls = 0;
  for (int64_t i = 0; i < lists; ++i)
    falls |= Load<int32_t>(offsets + 4 * i + 4) < Load<int32_t>(offsets + 4 * i) ? 1 : 0;
  return falls == 0;
}

// A record batch that was handed over.
class Opened {
 public:
  explicit Opened(nb::callable give) : batch_(new ArrowArray{}) {
    owner_ = nb::capsule(batch_, [](void* p) noexcept {
      auto* array = static_cast<ArrowArray*>(p);
      if (array->release != nullptr) array->release(array);
      delete array;
    });
    give(reinterpret_cast<uintptr_t>(batch_));
    if (batch_->release == nullptr) Invalid("no record batch was given");
  }

  int64_t events() const { return batch_->length; }

  // The batch itself has nothing but fields.
  void Expect(size_t fields) const {
    if (batch_->offset != 0 || events() < 0 || batch_->n_children != static_cast<int64_t>(fields))
      Corrupt("it has other fields than its schema says");
  }

  const ArrowArray& Field(size_t i) const { return *batch_->children[i]; }

  static const ArrowArray& Child(const ArrowArray& array, size_t i, const std::string& name) {
    if (static_cast<int64_t>(i) >= array.n_children) Corrupt(name + " has fewer columns than its type says");
    return *array.children[i];
  }

  // Which of a column's values are there; None if all are.
  nb::object Valid(const ArrowArray& column, Range range) const {
    const auto* bits = static_cast<const uint8_t*>(column.n_buffers > 0 ? column.buffers[0] : nullptr);
    if (bits == nullptr || column.null_count == 0) return nb::none();
    return Unpacked(bits, {column.offset + range.start, range.n});
  }

  nb::object Values(const ArrowArray& column, Range range, DType dtype, const std::string& name) const {
    if (column.n_buffers != 2 || column.length < range.start + range.n || column.offset < 0)
      Corrupt("a column of " + name + " is shorter than the others");
    const auto* data = static_cast<const uint8_t*>(column.buffers[1]);
    if (range.n > 0 && data == nullptr) Corrupt("a column of " + name + " has no values");
    const int64_t first = column.offset + range.start;
    if (dtype == DType::kBool) return Unpacked(data, {first, range.n});
    const auto start = static_cast<size_t>(first) * SizeOf(dtype);
    return ArrayOf(owner_, range.n > 0 ? data + start : nullptr, static_cast<size_t>(range.n),
                   DlpackOf(dtype));
  }

  // The offsets of lists, from 0, and which elements they are about.
  std::pair<nb::object, Range> Lists(const ArrowArray& lists, const std::string& name) const {
    const ArrowArray& elements = Child(lists, 0, name);
    if (lists.n_buffers != 2 || lists.length != events() || lists.offset < 0 || HasNulls(lists) ||
        HasNulls(elements))
      Corrupt("the lists of " + name + " are not all there");
    static const int32_t kNone[1] = {0};  // Arrow leaves the offsets of no lists away
    const void* given = lists.buffers[1];
    if (given == nullptr && events() > 0) Corrupt("the lists of " + name + " have no offsets");
    const uint8_t* offsets = events() == 0 ? reinterpret_cast<const uint8_t*>(kNone)
                                           : static_cast<const uint8_t*>(given) + 4 * lists.offset;
    const int32_t first = Load<int32_t>(offsets);
    const int32_t last = Load<int32_t>(offsets + 4 * events());
    // With the lock of Python: it would take as long to get it back.
    if (!Rise(offsets, events()) || first < 0 || last > elements.length)
      Corrupt("the lists of " + name + " have offsets that do not fit their elements");
    const size_t n = static_cast<size_t>(events()) + 1;
    const Range range{elements.offset + first, last - first};
    if (first == 0) return {ArrayOf(owner_, offsets, n, nb::dtype<int32_t>()), range};
    std::unique_ptr<int32_t[]> rebased(new int32_t[n]);
    for (size_t i = 0; i < n; ++i) rebased[i] = Load<int32_t>(offsets + 4 * i) - first;
    return {Owned(std::move(rebased), n), range};
  }

 private:
  static bool HasNulls(const ArrowArray& array) {
    return array.n_buffers > 0 && array.buffers[0] != nullptr && array.null_count != 0;
  }

  ArrowArray* batch_;
  nb::object owner_;
};

}  // namespace

WireForm::WireForm(std::vector<std::string> names, std::vector<WireField> fields, std::vector<DType> dtypes,
                   bool rows)
    : names_(std::move(names)), fields_(std::move(fields)), dtypes_(std::move(dtypes)), rows_(rows) {
  if (names_.size() != fields_.size()) Invalid("each field needs one name");
  for (const auto& [is_list, outputs] : fields_) {
    if (!is_list && outputs.size() != 1) Invalid("a field without lists is one output");
    for (int output : outputs) {
      if (output < 0 || static_cast<size_t>(output) >= dtypes_.size()) Invalid("there is no such output");
    }
  }
}

nb::tuple WireForm::Open(nb::callable give) const {
  const Opened batch(std::move(give));
  batch.Expect(fields_.size() + (rows_ ? 1 : 0));
  const Range all{0, batch.events()};
  std::vector<nb::object> values(dtypes_.size()), valid(dtypes_.size());
  nb::list offsets;
  for (size_t i = 0; i < fields_.size(); ++i) {
    const auto& [is_list, outputs] = fields_[i];
    const ArrowArray& field = batch.Field(i);
    auto [ends, range] = is_list ? batch.Lists(field, names_[i]) : std::pair{nb::object(nb::none()), all};
    offsets.append(ends);
    for (size_t k = 0; k < outputs.size(); ++k) {
      const ArrowArray& column =
          is_list ? Opened::Child(Opened::Child(field, 0, names_[i]), k, names_[i]) : field;
      const auto output = static_cast<size_t>(outputs[k]);
      values[output] = batch.Values(column, range, dtypes_[output], names_[i]);
      valid[output] = batch.Valid(column, range);
    }
  }
  nb::object rows = nb::none();
  if (rows_) rows = batch.Values(batch.Field(fields_.size()), all, DType::kInt64, "the events' numbers");
  nb::list all_values, all_valid;
  for (size_t i = 0; i < values.size(); ++i) {
    all_values.append(values[i].is_valid() ? values[i] : nb::none());
    all_valid.append(valid[i].is_valid() ? valid[i] : nb::none());
  }
  return nb::make_tuple(batch.events(), all_values, all_valid, offsets, rows);
}

}  // namespace skyhook
