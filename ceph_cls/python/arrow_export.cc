#include "python/arrow_export.h"

#include <cstring>
#include <limits>
#include <memory>
#include <string>

#include "python/arrow_c_data.h"

namespace nb = nanobind;

namespace skyhook {
namespace {

// Keeps what an exported array points to; children are released with their parent.
struct Holder {
  std::vector<std::unique_ptr<ArrowArray>> children;
  std::vector<ArrowArray*> pointers;
  std::vector<const void*> buffers;
  std::vector<std::shared_ptr<void>> owners;
};

void Release(ArrowArray* array) {
  auto* holder = static_cast<Holder*>(array->private_data);
  for (auto& child : holder->children) {
    if (child->release != nullptr) child->release(child.get());
  }
  array->release = nullptr;
  delete holder;
}

std::unique_ptr<ArrowArray> ArrayOf(int64_t length, int64_t nulls, std::vector<const void*> buffers,
                                    std::vector<std::shared_ptr<void>> owners,
                                    std::vector<std::unique_ptr<ArrowArray>> children = {}) {
  auto array = std::make_unique<ArrowArray>(ArrowArray{});
  auto* holder = new Holder{std::move(children), {}, std::move(buffers), std::move(owners)};
  for (auto& child : holder->children) holder->pointers.push_back(child.get());
  array->length = length;
  array->null_count = nulls;
  array->n_buffers = static_cast<int64_t>(holder->buffers.size());
  array->buffers = holder->buffers.data();
  array->n_children = static_cast<int64_t>(holder->pointers.size());
  array->children = holder->pointers.data();
  array->private_data = holder;
  array->release = Release;
  return array;
}

std::shared_ptr<void> PackBits(const uint8_t* bytes, int64_t n) {
  auto bits = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>((n + 7) / 8 + 1));
  for (int64_t i = 0; i < n; ++i)
    (*bits)[static_cast<size_t>(i / 8)] |= static_cast<uint8_t>((bytes[i] != 0) << (i % 8));
  return std::shared_ptr<void>(bits, bits->data());
}

// Some events of a result.
class WireBatch {
 public:
  WireBatch(nb::handle_t<Result> result, int64_t start, int64_t stop)
      : result_(nb::cast<const Result&>(result)), start_(start), stop_(stop), keep_(Keep(result)) {
    if (start < 0 || start > stop || stop > result_.events) Invalid("there are no such events");
  }

  std::unique_ptr<ArrowArray> Of(const std::vector<WireField>& fields) const {
    std::vector<std::unique_ptr<ArrowArray>> arrays;
    for (const auto& [is_list, outputs] : fields) {
      if (is_list) {
        arrays.push_back(ListOf(outputs));
      } else {
        for (int output : outputs) {
          if (Column(output).group >= 0) Invalid("an output of lists needs a field of lists");
          arrays.push_back(ValuesOf(Column(output), start_, stop_));
        }
      }
    }
    if (result_.keep_rows)
      arrays.push_back(ArrayOf(n(), 0, {nullptr, result_.rows.data() + 8 * start_}, {keep_}));
    return ArrayOf(n(), 0, {nullptr}, {}, std::move(arrays));
  }

 private:
  int64_t n() const { return stop_ - start_; }

  // The consumer may let go of the memory on a thread without the GIL.
  static std::shared_ptr<void> Keep(nb::handle owner) {
    PyObject* object = nb::borrow(owner).release().ptr();
    return {object, [](void* o) {
              nb::gil_scoped_acquire acquire;
              Py_DECREF(static_cast<PyObject*>(o));
            }};
  }

  const ResultColumn& Column(int output) const {
    if (output < 0 || static_cast<size_t>(output) >= result_.columns.size())
      Invalid("there is no such output");
    return result_.columns[static_cast<size_t>(output)];
  }

  std::unique_ptr<ArrowArray> ListOf(const std::vector<int>& outputs) const {
    const int group = outputs.empty() ? -1 : Column(outputs[0]).group;
    for (int output : outputs) {
      if (group < 0 || Column(output).group != group) Invalid("outputs of one list lie in one group");
    }
    if (group < 0) Invalid("a list needs an output that is one");
    const auto* offsets = reinterpret_cast<const int64_t*>(result_.groups[static_cast<size_t>(group)].data());
    const int64_t first = offsets[start_], last = offsets[stop_];
    if (last - first > std::numeric_limits<int32_t>::max()) {
      throw Error(Kind::kResourceExhausted,
                  std::to_string(last - first) + " elements of a list are more than go into a batch");
    }
    auto narrow = std::make_shared<std::vector<int32_t>>(static_cast<size_t>(n() + 1));
    for (int64_t i = 0; i <= n(); ++i)
      (*narrow)[static_cast<size_t>(i)] = static_cast<int32_t>(offsets[start_ + i] - first);
    std::vector<std::unique_ptr<ArrowArray>> members;
    for (int output : outputs) members.push_back(ValuesOf(Column(output), first, last));
    std::vector<std::unique_ptr<ArrowArray>> content;
    content.push_back(ArrayOf(last - first, 0, {nullptr}, {}, std::move(members)));
    return ArrayOf(n(), 0, {nullptr, narrow->data()}, {narrow}, std::move(content));
  }

  std::unique_ptr<ArrowArray> ValuesOf(const ResultColumn& column, int64_t first, int64_t stop) const {
    static const uint64_t nothing = 0;
    const int64_t n = stop - first;
    const uint8_t* data = n > 0 ? column.values.data() + first * static_cast<int64_t>(SizeOf(column.dtype))
                                : reinterpret_cast<const uint8_t*>(&nothing);
    std::shared_ptr<void> values = column.dtype == DType::kBool
                                       ? PackBits(data, n)
                                       : std::shared_ptr<void>(keep_, const_cast<uint8_t*>(data));
    const uint8_t* there = column.has_valid ? column.valid.data() + first : nullptr;
    if (there == nullptr || std::memchr(there, 0, static_cast<size_t>(n)) == nullptr)
      return ArrayOf(n, 0, {nullptr, values.get()}, {values});
    std::shared_ptr<void> valid = PackBits(there, n);
    return ArrayOf(n, -1, {valid.get(), values.get()}, {values, valid});
  }

  const Result& result_;
  int64_t start_;
  int64_t stop_;
  std::shared_ptr<void> keep_;
};

}  // namespace

nb::object WireBatchOf(nb::handle_t<Result> result, const std::vector<WireField>& fields, int64_t start,
                       int64_t stop, nb::callable take) {
  const std::unique_ptr<ArrowArray, void (*)(ArrowArray*)> array(
      WireBatch(result, start, stop).Of(fields).release(), [](ArrowArray* left) {
        if (left->release != nullptr) left->release(left);
        delete left;
      });
  return take(reinterpret_cast<uintptr_t>(array.get()));
}

}  // namespace skyhook
