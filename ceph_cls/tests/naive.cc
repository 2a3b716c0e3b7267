#include "naive.h"

#include <algorithm>

namespace skyhook::test {

Naive::Naive(const Program& program, const Table& table)
    : program_(program), table_(table), values_(program.nodes.size()), axes_(program.nodes.size()) {
  for (const StoredColumn& column : program.columns) {
    int found = -1;
    for (size_t i = 0; i < table.columns.size(); ++i) {
      if (table.columns[i].name == column.name) found = static_cast<int>(i);
    }
    columns_.push_back(found);
  }
}

void Naive::Evaluate(size_t chunk, uint32_t row) {
  chunk_ = chunk;
  row_ = row;
  for (size_t i = 0; i < program_.nodes.size(); ++i) {
    const Node& node = program_.nodes[i];
    if (IsAxis(node.op)) {
      axes_[i].clear();
      Axis(node, &axes_[i]);
    } else {
      values_[i] = Compute(static_cast<int>(i), node);
    }
  }
}

int32_t Naive::OffsetAt(int column, uint32_t row) const {
  const size_t c = static_cast<size_t>(columns_[static_cast<size_t>(column)]);
  return Load<int32_t>(table_.chunks[chunk_].values[c].data() + 4 * size_t{row});
}

void Naive::Axis(const Node& node, Sets* sets) const {
  switch (node.op) {
    case Op::kList:
      sets->resize(static_cast<size_t>(OffsetAt(node.a, row_ + 1) - OffsetAt(node.a, row_)));
      return;
    case Op::kEmpty:
      return;
    case Op::kFilter:
      for (int32_t i = 0; i < static_cast<int32_t>(Length(node.a)); ++i) {
        const Cell& keep = ValueOf(node.b)[static_cast<size_t>(i)];
        if (keep.valid && keep.bits != 0) sets->push_back({i});
      }
      return;
    case Op::kCross:
      for (int32_t i = 0; i < static_cast<int32_t>(Length(node.a)); ++i) {
        for (int32_t j = 0; j < static_cast<int32_t>(Length(node.b)); ++j) sets->push_back({i, j});
      }
      return;
    default: {
      // Grown slot by slot: every set is followed by all that continue it.
      Sets grown{{}};
      for (uint64_t slot = 0; slot < node.imm; ++slot) {
        Sets next;
        for (const std::vector<int32_t>& set : grown) {
          for (int32_t i = set.empty() ? 0 : set.back() + 1; i < static_cast<int32_t>(Length(node.a)); ++i) {
            next.push_back(set);
            next.back().push_back(i);
          }
        }
        grown = std::move(next);
      }
      *sets = std::move(grown);
    }
  }
}

const Cell& Naive::Element(int32_t node, size_t i) const {
  return ValueOf(node)[NodeAt(node).axis >= 0 ? i : 0];
}

std::vector<Cell> Naive::Stored(const Node& node) const {
  const size_t width = SizeOf(node.dtype);
  const std::vector<uint8_t>& values =
      table_.chunks[chunk_].values[static_cast<size_t>(columns_[static_cast<size_t>(node.a)])];
  const int64_t first = node.axis < 0 ? row_ : OffsetAt(NodeAt(node.axis).a, row_);
  std::vector<Cell> cells(Length(node.axis));
  for (size_t i = 0; i < cells.size(); ++i) {
    std::memcpy(&cells[i].bits, values.data() + (static_cast<size_t>(first) + i) * width, width);
  }
  return cells;
}

std::vector<Cell> Naive::ElementWise(const Node& node) const {
  const int dtype = static_cast<int>(NodeAt(node.a).dtype);
  std::vector<Cell> cells(Length(node.axis));
  for (size_t i = 0; i < cells.size(); ++i) {
    Cell a = Element(node.a, i), &out = cells[i];
    if (node.op == Op::kCast) {
      base::Table().cast[dtype][static_cast<int>(node.dtype)](&a.bits, 1, &out.bits);
      out.valid = a.valid;
    } else if (IsUnary(node.op)) {
      if (node.op == Op::kNot) a = {a.bits & a.valid, true};
      base::Table().unary[static_cast<int>(node.op) - static_cast<int>(Op::kNeg)][dtype](&a.bits, 1,
                                                                                         &out.bits);
      out.valid = a.valid;
    } else {
      Cell b = Element(node.b, i);
      if (IsLogical(node.op)) {
        a = {a.bits & a.valid, true};
        b = {b.bits & b.valid, true};
      }
      base::Table().binary[static_cast<int>(node.op) - static_cast<int>(Op::kAdd)][dtype](
          &a.bits, false, &b.bits, false, 1, &out.bits);
      out.valid = a.valid && b.valid;
      if (IsComparison(node.op)) out = {out.bits & out.valid, true};
    }
  }
  return cells;
}

Cell Naive::Reduced(const Node& node, const std::vector<Cell>& x) const {
  const size_t width = SizeOf(NodeAt(node.a).dtype);
  std::vector<uint8_t> there(x.size() * width + 8);
  std::vector<int32_t> number;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!x[i].valid) continue;
    std::memcpy(there.data() + number.size() * width, &x[i].bits, width);
    number.push_back(static_cast<int32_t>(i));
  }
  const int32_t offsets[2] = {0, static_cast<int32_t>(number.size())};
  Cell out;
  uint8_t valid = 1;
  base::Table()
      .reduce[static_cast<int>(node.op) - static_cast<int>(Op::kAny)][static_cast<int>(NodeAt(node.a).dtype)](
          there.data(), offsets, 1, &out.bits, node.optional ? &valid : nullptr);
  out.valid = valid != 0;
  const bool place = node.op == Op::kArgmin || node.op == Op::kArgmax;
  if (place && out.valid) out.bits = static_cast<uint64_t>(number[out.bits]);
  return out;
}

std::vector<Cell> Naive::Reduced(const Node& node) const {
  if (node.b < 0) return {Reduced(node, ValueOf(node.a))};
  // For each element of the first part of a cross: those elements of the cross that begin with it.
  const Sets& pairs = axes_[static_cast<size_t>(NodeAt(node.a).axis)];
  std::vector<Cell> reduced;
  for (size_t i = 0; i < Length(node.b); ++i) {
    std::vector<Cell> own;
    for (size_t k = 0; k < pairs.size(); ++k) {
      if (pairs[k][0] == static_cast<int32_t>(i)) own.push_back(ValueOf(node.a)[k]);
    }
    reduced.push_back(Reduced(node, own));
  }
  return reduced;
}

// Whether a number lies in one of the ranges of a table.
Cell Naive::Inside(const Node& node, const Cell& x) const {
  const size_t first = node.imm & 0xFFFFFFFF, count = node.imm >> 32;
  bool inside = false;
  for (size_t i = 0; i < count; i += 2) {
    const int64_t value = static_cast<int64_t>(x.bits);
    inside |= value >= program_.table[first + i] && (i + 1 == count || value < program_.table[first + i + 1]);
  }
  return {x.valid && inside, true};
}

// Where element `index` of a filter's parent went.
Cell Naive::Moved(const Node& node, const Cell& index) const {
  return Dispatch(node.dtype, [&]<typename T>(T*) -> Cell {
    T wanted, to = static_cast<T>(-1);
    std::memcpy(&wanted, &index.bits, sizeof(T));
    const auto& kept = axes_[static_cast<size_t>(node.b)];
    for (size_t k = 0; k < kept.size(); ++k) {
      if (wanted >= T{} && static_cast<uint64_t>(wanted) == static_cast<uint64_t>(kept[k][0]))
        to = static_cast<T>(k);
    }
    Cell out{0, index.valid};
    std::memcpy(&out.bits, &to, sizeof(T));
    return out;
  });
}

std::vector<Cell> Naive::Compute(int number, const Node& node) const {
  if (IsUnary(node.op) || IsBinary(node.op) || node.op == Op::kCast) return ElementWise(node);
  if (IsReduce(node.op)) return Reduced(node);
  std::vector<Cell> cells(Length(node.axis));
  const auto each = [&](auto f) {
    for (size_t i = 0; i < cells.size(); ++i) cells[i] = f(i);
    return cells;
  };
  // Element i of a list, counted from the end if negative; missing if there is none.
  const auto at = [](size_t length, const Cell& i, auto found) -> Cell {
    int64_t k = static_cast<int64_t>(i.bits);
    if (k < 0) k += static_cast<int64_t>(length);
    return i.valid && k >= 0 && k < static_cast<int64_t>(length) ? found(static_cast<size_t>(k))
                                                                 : Cell{0, false};
  };
  switch (node.op) {
    case Op::kLoad:
      return Stored(node);
    case Op::kConst:
      return {{program_.nodes[static_cast<size_t>(number)].imm, true}};
    case Op::kCount:
      return {{Length(node.a), true}};
    case Op::kLocalIndex:
      return each([](size_t i) { return Cell{i, true}; });
    case Op::kSpread:
      return each([&](size_t) { return ValueOf(node.a)[0]; });
    case Op::kTake:
      return each([&](size_t i) {
        return ValueOf(node.a)[static_cast<size_t>(axes_[static_cast<size_t>(node.b)][i][0])];
      });
    case Op::kComponent:
      return each([&](size_t i) {
        return ValueOf(node.a)[static_cast<size_t>(axes_[static_cast<size_t>(node.b)][i][node.imm])];
      });
    case Op::kComponentSum:
      return each([&](size_t i) {
        const std::vector<int32_t>& set = axes_[static_cast<size_t>(node.b)][i];
        Cell sum = ValueOf(node.a)[static_cast<size_t>(set[0])];
        for (size_t s = 1; s < set.size(); ++s) {
          const Cell part = ValueOf(node.a)[static_cast<size_t>(set[s])];
          base::Table().binary[0][static_cast<int>(node.dtype)](&sum.bits, false, &part.bits, false, 1,
                                                                &sum.bits);
        }
        return sum;
      });
    case Op::kIndex:
      return {
          at(Length(NodeAt(node.a).axis), ValueOf(node.b)[0], [&](size_t k) { return ValueOf(node.a)[k]; })};
    case Op::kPick:
      return {at(Length(node.a), ValueOf(node.b)[0], [&](size_t k) {
        return Cell{static_cast<uint64_t>(axes_[static_cast<size_t>(node.a)][k][node.imm]), true};
      })};
    case Op::kAlign:
      return ValueOf(node.a);
    case Op::kRemap:
      return each([&](size_t i) { return Moved(node, ValueOf(node.a)[i]); });
    case Op::kWhere:
      return each([&](size_t i) {
        const Cell& c = Element(node.a, i);
        return Element(c.valid && c.bits != 0 ? node.b : node.c, i);
      });
    case Op::kFill:
      return each([&](size_t i) {
        const Cell& x = Element(node.a, i);
        return x.valid ? x : ValueOf(node.b)[0];
      });
    case Op::kInside:
      return each([&](size_t i) { return Inside(node, Element(node.a, i)); });
    default:  // kPresent
      return each([&](size_t i) { return Cell{Element(node.a, i).valid, true}; });
  }
}

Result Naive::Scan(Result result) {
  int64_t first = 0;
  std::vector<int64_t>& passed = result.report.passed;
  passed.assign(program_.terms.size(), 0);
  for (size_t c = 0; c < table_.chunks.size(); ++c) {
    for (uint32_t row = 0; row < table_.chunks[c].events; ++row) {
      Evaluate(c, row);
      size_t term = 0;
      for (; term < passed.size() && Truth(program_.terms[term]); ++term) ++passed[term];
      if (term < passed.size()) continue;
      std::vector<bool> done(result.groups.size());
      for (size_t i = 0; i < program_.outputs.size(); ++i) {
        ResultColumn& column = result.columns[i];
        const std::vector<Cell>& cells = ValueOf(program_.outputs[i]);
        for (const Cell& cell : cells) {
          std::memcpy(column.values.Extend(SizeOf(column.dtype)), &cell.bits, SizeOf(column.dtype));
          const uint8_t valid = cell.valid;
          column.AppendValid(&valid, 1);
        }
        if (column.group < 0 || done[static_cast<size_t>(column.group)]) continue;
        const int32_t offsets[2] = {0, static_cast<int32_t>(cells.size())};
        result.AppendLists(column.group, offsets, 1);
        done[static_cast<size_t>(column.group)] = true;
      }
      const int64_t event = first + row;
      std::memcpy(result.rows.Extend(8), &event, 8);
      ++result.events;
    }
    first += table_.chunks[c].events;
  }
  return result;
}

}  // namespace skyhook::test
