#include "python/arrow_export.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <limits>
#include <memory>

namespace nb = nanobind;

// The two structures are copied from the Arrow specification, which asks for exactly that.
extern "C" {
struct ArrowSchema {
  const char* format;
  const char* name;
  const char* metadata;
  int64_t flags;
  int64_t n_children;
  struct ArrowSchema** children;
  struct ArrowSchema* dictionary;
  void (*release)(struct ArrowSchema*);
  void* private_data;
};
struct ArrowArray {
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void** buffers;
  struct ArrowArray** children;
  struct ArrowArray* dictionary;
  void (*release)(struct ArrowArray*);
  void* private_data;
};
}

namespace skyhook {
namespace {

constexpr int64_t kNullable = 2;
const char* kFormats[kDTypes] = {"b", "c", "C", "s", "S", "i", "I", "l", "L", "f", "g"};

// Keeps what an exported structure points to; children are released with their parent.
template <typename T>
struct Holder {
  std::string name;
  std::vector<std::unique_ptr<T>> children;
  std::vector<T*> pointers;
  std::vector<const void*> buffers;
  std::vector<std::shared_ptr<void>> owners;
};

template <typename T>
void Release(T* structure) {
  auto* holder = static_cast<Holder<T>*>(structure->private_data);
  for (auto& child : holder->children) {
    if (child->release != nullptr) child->release(child.get());
  }
  structure->release = nullptr;
  delete holder;
}

template <typename T>
Holder<T>* Hold(T* structure, std::vector<std::unique_ptr<T>> children) {
  auto* holder = new Holder<T>;
  holder->children = std::move(children);
  for (auto& child : holder->children) holder->pointers.push_back(child.get());
  structure->n_children = static_cast<int64_t>(holder->pointers.size());
  structure->children = holder->pointers.data();
  structure->private_data = holder;
  structure->release = Release<T>;
  return holder;
}

std::unique_ptr<ArrowSchema> SchemaOf(const char* format, const std::string& name, bool nullable,
                                      std::vector<std::unique_ptr<ArrowSchema>> children = {}) {
  auto schema = std::make_unique<ArrowSchema>(ArrowSchema{});
  auto* holder = Hold(schema.get(), std::move(children));
  holder->name = name;
  schema->format = format;
  schema->name = holder->name.c_str();
  schema->flags = nullable ? kNullable : 0;
  return schema;
}

std::unique_ptr<ArrowArray> ArrayOf(int64_t length, int64_t nulls, std::vector<const void*> buffers,
                                    std::vector<std::shared_ptr<void>> owners,
                                    std::vector<std::unique_ptr<ArrowArray>> children = {}) {
  auto array = std::make_unique<ArrowArray>(ArrowArray{});
  auto* holder = Hold(array.get(), std::move(children));
  holder->buffers = std::move(buffers);
  holder->owners = std::move(owners);
  array->length = length;
  array->null_count = nulls;
  array->n_buffers = static_cast<int64_t>(holder->buffers.size());
  array->buffers = holder->buffers.data();
  return array;
}

std::shared_ptr<void> PackBits(const uint8_t* bytes, int64_t n) {
  auto bits = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>((n + 7) / 8 + 1));
  for (int64_t i = 0; i < n; ++i)
    (*bits)[static_cast<size_t>(i / 8)] |= static_cast<uint8_t>((bytes[i] != 0) << (i % 8));
  return std::shared_ptr<void>(bits, bits->data());
}

// A result's columns under names, ready to be exported any number of times.
class RecordBatch {
 public:
  RecordBatch(nb::object owner, std::vector<std::string> names)
      : owner_(std::move(owner)), result_(nb::cast<Result&>(owner_)), names_(std::move(names)) {
    if (names_.size() != result_.columns.size()) Invalid("as many names as outputs are needed");
  }

  std::unique_ptr<ArrowSchema> Schema() const {
    std::vector<std::unique_ptr<ArrowSchema>> fields;
    for (size_t i = 0; i < names_.size(); ++i) {
      const ResultColumn& column = result_.columns[i];
      const char* format = kFormats[static_cast<int>(column.dtype)];
      if (column.group < 0) {
        fields.push_back(SchemaOf(format, names_[i], column.has_valid));
        continue;
      }
      std::vector<std::unique_ptr<ArrowSchema>> item;
      item.push_back(SchemaOf(format, "item", column.has_valid));
      fields.push_back(SchemaOf(Large(column.group) ? "+L" : "+l", names_[i], false, std::move(item)));
    }
    return SchemaOf("+s", "", false, std::move(fields));
  }

  std::unique_ptr<ArrowArray> Array() const {
    const std::shared_ptr<void> keep = Keep();
    std::vector<std::shared_ptr<void>> offsets;
    for (size_t g = 0; g < result_.groups.size(); ++g)
      offsets.push_back(OffsetsOf(static_cast<int>(g), keep));
    std::vector<std::unique_ptr<ArrowArray>> columns;
    for (const ResultColumn& column : result_.columns) {
      auto values = ValuesOf(column, keep);
      if (column.group < 0) {
        columns.push_back(std::move(values));
        continue;
      }
      std::vector<std::unique_ptr<ArrowArray>> item;
      item.push_back(std::move(values));
      const auto& place = offsets[static_cast<size_t>(column.group)];
      columns.push_back(ArrayOf(result_.events, 0, {nullptr, place.get()}, {place}, std::move(item)));
    }
    return ArrayOf(result_.events, 0, {nullptr}, {}, std::move(columns));
  }

 private:
  // The consumer may let go of the memory on a thread without the GIL.
  std::shared_ptr<void> Keep() const {
    PyObject* object = nb::object(owner_).release().ptr();
    return {object, [](void* o) {
              nb::gil_scoped_acquire acquire;
              Py_DECREF(static_cast<PyObject*>(o));
            }};
  }

  const int64_t* Offsets(int group) const {
    return reinterpret_cast<const int64_t*>(result_.groups[static_cast<size_t>(group)].data());
  }
  bool Large(int group) const { return Offsets(group)[result_.events] > std::numeric_limits<int32_t>::max(); }

  std::shared_ptr<void> OffsetsOf(int group, const std::shared_ptr<void>& keep) const {
    const int64_t* from = Offsets(group);
    if (Large(group)) return {keep, const_cast<int64_t*>(from)};
    auto narrow = std::make_shared<std::vector<int32_t>>(from, from + result_.events + 1);
    return {narrow, narrow->data()};
  }

  std::unique_ptr<ArrowArray> ValuesOf(const ResultColumn& column, const std::shared_ptr<void>& keep) const {
    static const uint64_t nothing = 0;
    const int64_t n = column.n();
    const uint8_t* data = n > 0 ? column.values.data() : reinterpret_cast<const uint8_t*>(&nothing);
    std::shared_ptr<void> values = column.dtype == DType::kBool
                                       ? PackBits(data, n)
                                       : std::shared_ptr<void>(keep, const_cast<uint8_t*>(data));
    if (!column.has_valid) return ArrayOf(n, 0, {nullptr, values.get()}, {values});
    std::shared_ptr<void> valid = PackBits(column.valid.data(), n);
    return ArrayOf(n, -1, {valid.get(), values.get()}, {values, valid});
  }

  nb::object owner_;
  const Result& result_;
  std::vector<std::string> names_;
};

template <typename T>
nb::object Capsule(std::unique_ptr<T> structure, const char* name) {
  PyObject* capsule = PyCapsule_New(structure.get(), name, [](PyObject* c) {
    auto* held = static_cast<T*>(PyCapsule_GetPointer(c, PyCapsule_GetName(c)));
    if (held->release != nullptr) held->release(held);
    delete held;
  });
  if (capsule == nullptr) throw nb::python_error();
  structure.release();
  return nb::steal(capsule);
}

}  // namespace

nb::object RecordBatchOf(nb::handle_t<Result> result, const std::vector<std::string>& names) {
  return nb::cast(RecordBatch(nb::borrow(result), names));
}

void BindRecordBatch(nb::module_& m) {
  nb::class_<RecordBatch>(m, "RecordBatch")
      .def("__arrow_c_schema__",
           [](const RecordBatch& batch) { return Capsule(batch.Schema(), "arrow_schema"); })
      .def(
          "__arrow_c_array__",
          [](const RecordBatch& batch, nb::object) {
            return nb::make_tuple(Capsule(batch.Schema(), "arrow_schema"),
                                  Capsule(batch.Array(), "arrow_array"));
          },
          nb::arg("requested_schema") = nb::none());
}

}  // namespace skyhook
