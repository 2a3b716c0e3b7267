// What one scan computes: the engine's side of skyhook_casa/program.py. See doc/program.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bytes.h"
#include "dtype.h"

namespace skyhook {

inline constexpr uint32_t kNodesMax = 4096;
inline constexpr uint32_t kColumnsMax = 4096;
inline constexpr uint32_t kTableMax = 1 << 16;
inline constexpr int kCombinationsMax = 6;

enum class Op : uint16_t {
  // axes
  kList = 1,
  kEmpty = 2,
  kFilter = 3,
  kCombinations = 4,
  kCross = 5,
  // values
  kLoad = 16,
  kConst = 17,
  kCast = 18,
  kCount = 19,
  kSpread = 20,
  kTake = 21,
  kComponent = 22,
  kComponentSum = 23,
  kIndex = 24,
  kLocalIndex = 25,
  kAlign = 26,
  kRemap = 27,
  kWhere = 28,
  kFill = 29,
  kPresent = 30,
  kPick = 31,
  kInside = 32,
  // element by element, one operand
  kNeg = 64,
  kAbs,
  kNot,
  kInvert,
  kSign,
  kSqrt,
  kExp,
  kExpm1,
  kLog,
  kLog2,
  kLog10,
  kLog1p,
  kSin,
  kCos,
  kTan,
  kAsin,
  kAcos,
  kAtan,
  kSinh,
  kCosh,
  kTanh,
  kAsinh,
  kAcosh,
  kAtanh,
  kFloor,
  kCeil,
  kRint,
  kTrunc,
  kIsFinite,
  kIsNan,
  kIsInf,
  kSignedSqrt,
  kUnaryEnd,
  // element by element, two operands
  kAdd = 128,
  kSub,
  kMul,
  kDiv,
  kFloorDiv,
  kMod,
  kPow,
  kAtan2,
  kHypot,
  kMinimum,
  kMaximum,
  kEq,
  kNe,
  kLt,
  kLe,
  kGt,
  kGe,
  kAnd,
  kOr,
  kXor,
  kBitAnd,
  kBitOr,
  kBitXor,
  kLshift,
  kRshift,
  kBinaryEnd,
  // one value per list, or with an axis as operand b one per element of it: of the first part of a cross
  kAny = 192,
  kAll,
  kSum,
  kProd,
  kMin,
  kMax,
  kCountNonzero,
  kArgmin,
  kArgmax,
  kReduceEnd,
};

inline bool IsAxis(Op op) { return op >= Op::kList && op <= Op::kCross; }
inline bool IsUnary(Op op) { return op >= Op::kNeg && op < Op::kUnaryEnd; }
inline bool IsBinary(Op op) { return op >= Op::kAdd && op < Op::kBinaryEnd; }
inline bool IsReduce(Op op) { return op >= Op::kAny && op < Op::kReduceEnd; }
inline bool IsComparison(Op op) { return op >= Op::kEq && op <= Op::kGe; }
inline bool IsLogical(Op op) { return op >= Op::kAnd && op <= Op::kXor; }

inline constexpr int kEventAxis = -1;  // one number per event
inline constexpr int kConstAxis = -2;  // a constant

struct Node {
  Op op;
  DType dtype;
  int32_t a = -1, b = -1, c = -1;
  uint64_t imm = 0;
  // Derived when the program is decoded:
  int axis = kEventAxis;  // axis node, kEventAxis or kConstAxis; of an axis: its own number
  bool optional = false;
};

struct StoredColumn {
  std::string name;
  uint64_t name_hash;
  uint32_t hint;  // directory index, or 0xFFFFFFFF
  DType dtype;
  bool offsets;
};

struct Program {
  std::vector<StoredColumn> columns;
  std::vector<Node> nodes;
  std::vector<int32_t> terms;
  std::vector<int32_t> outputs;
  std::vector<int64_t> table;  // ends of ranges, for kInside

  // Whether kInside is true of x.
  bool Inside(const Node& node, int64_t x) const;
  // Columns that a node reads, directly or through others; sorted, each once.
  std::vector<int> ColumnsOf(const std::vector<int32_t>& roots) const;
};

// Decodes and checks a program: every operand stands before its user, dtypes and axes fit.
// Throws Error(kInvalidRequest) otherwise, so that an evaluation need not check again.
Program DecodeProgram(Bytes data);

}  // namespace skyhook
