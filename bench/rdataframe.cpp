// The ADL queries in ROOT's RDataFrame, compiled: for each line on its input it runs once more and prints
// seconds, CPU seconds, and the bins of each histogram. Run by rdataframe.py.
//
//   rdataframe QUERY THREADS FILE…
#include <ROOT/RDataFrame.hxx>
#include <ROOT/RVec.hxx>
#include <TH1D.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <string>
#include <vector>

using F = ROOT::RVec<float>;
using I = ROOT::RVec<int>;
using Histogram = ROOT::RDF::RResultPtr<TH1D>;

static double Wall() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
static double Cpu() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

static bool HasPair(const F& pt, const F& eta, const F& phi, const I& charge) {
  for (size_t i = 0; i < pt.size(); ++i) {
    for (size_t j = i + 1; j < pt.size(); ++j) {
      if (charge[i] == charge[j]) continue;
      const float m = std::sqrt(2 * pt[i] * pt[j] * (std::cosh(eta[i] - eta[j]) - std::cos(phi[i] - phi[j])));
      if (m > 60 && m < 120) return true;
    }
  }
  return false;
}

struct Momenta {
  F x, y, z, e;
  Momenta(const F& pt, const F& eta, const F& phi, const F& m)
      : x(pt.size()), y(pt.size()), z(pt.size()), e(pt.size()) {
    for (size_t i = 0; i < pt.size(); ++i) {
      x[i] = pt[i] * std::cos(phi[i]), y[i] = pt[i] * std::sin(phi[i]), z[i] = pt[i] * std::sinh(eta[i]);
      e[i] = std::sqrt(x[i] * x[i] + y[i] * y[i] + z[i] * z[i] + m[i] * m[i]);
    }
  }
};

static F Trijet(const F& pt, const F& eta, const F& phi, const F& m, const F& b) {
  const Momenta p(pt, eta, phi, m);
  const size_t n = pt.size();
  float best = 1e30f, best_pt = 0, best_b = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i + 1; j < n; ++j) {
      const float x2 = p.x[i] + p.x[j], y2 = p.y[i] + p.y[j], z2 = p.z[i] + p.z[j], e2 = p.e[i] + p.e[j];
      for (size_t k = j + 1; k < n; ++k) {
        const float x = x2 + p.x[k], y = y2 + p.y[k], z = z2 + p.z[k], e = e2 + p.e[k];
        const float off = std::abs(std::sqrt(std::max(0.f, e * e - x * x - y * y - z * z)) - 172.5f);
        if (off >= best) continue;
        best = off, best_pt = std::sqrt(x * x + y * y), best_b = std::max(b[i], std::max(b[j], b[k]));
      }
    }
  }
  return {best_pt, best_b};
}

static float DeltaPhi(float a, float b) {
  const float d = std::fmod(a - b + static_cast<float>(M_PI), static_cast<float>(2 * M_PI));
  return (d < 0 ? d + static_cast<float>(2 * M_PI) : d) - static_cast<float>(M_PI);
}

static bool IsNear(float eta, float phi, const F& pts, const F& etas, const F& phis) {
  for (size_t i = 0; i < pts.size(); ++i) {
    if (pts[i] > 10 && std::hypot(eta - etas[i], DeltaPhi(phi, phis[i])) < 0.4f) return true;
  }
  return false;
}

static F SumOfClean(const F& pt, const F& eta, const F& phi, const F& mpt, const F& meta, const F& mphi,
                    const F& ept, const F& eeta, const F& ephi) {
  float sum = 0;
  bool any = false;
  for (size_t i = 0; i < pt.size(); ++i) {
    if (!(pt[i] > 30) || IsNear(eta[i], phi[i], mpt, meta, mphi) || IsNear(eta[i], phi[i], ept, eeta, ephi))
      continue;
    sum += pt[i];
    any = true;
  }
  return any ? F{sum} : F{};
}

// The pair of opposite charge nearest to the Z: how far it is, and its places.
struct Best {
  float off = 1e30f;
  size_t i = 99999, j = 99999;
};
static Best NearZ(const F& pt, const F& eta, const F& phi, const F& m, const I& charge) {
  Best best;
  if (pt.size() < 2) return best;
  const Momenta p(pt, eta, phi, m);
  for (size_t i = 0; i < pt.size(); ++i) {
    for (size_t j = i + 1; j < pt.size(); ++j) {
      if (charge[i] == charge[j]) continue;
      const float x = p.x[i] + p.x[j], y = p.y[i] + p.y[j], z = p.z[i] + p.z[j], e = p.e[i] + p.e[j];
      const float off = std::abs(std::sqrt(std::max(0.f, e * e - x * x - y * y - z * z)) - 91.2f);
      if (off < best.off) best = {off, i, j};
    }
  }
  return best;
}

static F TransverseMass(float met, float met_phi, const F& ept, const F& eeta, const F& ephi, const F& em,
                        const I& ec, const F& mpt, const F& meta, const F& mphi, const F& mm, const I& mc) {
  const Best e = NearZ(ept, eeta, ephi, em, ec), m = NearZ(mpt, meta, mphi, mm, mc);
  if (e.off > 1e29f && m.off > 1e29f) return {};
  float pt = 0, phi = 0;
  for (size_t i = 0; i < ept.size(); ++i) {
    if (((i != e.i && i != e.j) || e.off > m.off) && ept[i] > pt) pt = ept[i], phi = ephi[i];
  }
  for (size_t i = 0; i < mpt.size(); ++i) {
    if (((i != m.i && i != m.j) || m.off > e.off) && mpt[i] > pt) pt = mpt[i], phi = mphi[i];
  }
  return {std::sqrt(2 * pt * met * (1 - std::cos(DeltaPhi(phi, met_phi))))};
}

static std::vector<Histogram> Book(ROOT::RDF::RNode d, const std::string& q) {
  const ROOT::RDF::TH1DModel met{"h", "", 100, 0, 200}, jets{"h", "", 100, 15, 60};
  if (q == "q1") return {d.Histo1D<float>(met, "MET_pt")};
  if (q == "q2") return {d.Histo1D<F>(jets, "Jet_pt")};
  if (q == "q3") {
    const auto central = [](const F& pt, const F& eta) { return pt[abs(eta) < 1.f]; };
    return {d.Define("g", central, {"Jet_pt", "Jet_eta"}).Histo1D<F>(jets, "g")};
  }
  if (q == "q4") {
    const auto two = [](const F& pt) { return Sum(pt > 40.f) > 1; };
    return {d.Filter(two, {"Jet_pt"}).Histo1D<float>(met, "MET_pt")};
  }
  if (q == "q5") {
    return {d.Filter([](int n) { return n >= 2; }, {"nMuon"})
                .Filter(HasPair, {"Muon_pt", "Muon_eta", "Muon_phi", "Muon_charge"})
                .Histo1D<float>(met, "MET_pt")};
  }
  if (q == "q6") {
    auto t = d.Filter([](int n) { return n >= 3; }, {"nJet"})
                 .Define("t", Trijet, {"Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass", "Jet_btag"})
                 .Define("p", [](const F& v) { return v[0]; }, {"t"})
                 .Define("b", [](const F& v) { return v[1]; }, {"t"});
    auto pt = t.Histo1D<float>({"p", "", 100, 15, 40}, "p");
    return {pt, t.Histo1D<float>({"b", "", 100, 0, 1}, "b")};
  }
  if (q == "q7") {
    auto t = d.Define("s", SumOfClean,
                      {"Jet_pt", "Jet_eta", "Jet_phi", "Muon_pt", "Muon_eta", "Muon_phi", "Electron_pt",
                       "Electron_eta", "Electron_phi"});
    return {t.Histo1D<F>({"h", "", 100, 15, 200}, "s")};
  }
  auto t = d.Filter([](int e, int m) { return e + m >= 3; }, {"nElectron", "nMuon"})
               .Define("mt", TransverseMass,
                       {"MET_pt", "MET_phi", "Electron_pt", "Electron_eta", "Electron_phi", "Electron_mass",
                        "Electron_charge", "Muon_pt", "Muon_eta", "Muon_phi", "Muon_mass", "Muon_charge"});
  return {t.Histo1D<F>(met, "mt")};
}

int main(int argc, char** argv) {
  const std::string query = argv[1];
  const int threads = std::stoi(argv[2]);
  const std::vector<std::string> files(argv + 3, argv + argc);
  if (threads > 1) ROOT::EnableImplicitMT(static_cast<unsigned>(threads));
  std::string line;
  while (std::getline(std::cin, line)) {
    const double wall = Wall(), cpu = Cpu();
    std::vector<Histogram> made = Book(ROOT::RDataFrame("Events", files), query);
    for (Histogram& h : made) h->GetEntries();
    std::printf("%.6f %.6f", Wall() - wall, Cpu() - cpu);
    for (Histogram& h : made) {
      for (int b = 0; b < 102; ++b) std::printf(" %.0f", h->GetBinContent(b));
    }
    std::printf("\n");
    std::fflush(stdout);
  }
}
