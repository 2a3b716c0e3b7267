"""What the generator writes besides kinematics: names, types, precisions, titles and distributions.

Distributions are of the right kind and size, no more: this is data to exercise software with, not
to do physics with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Draw:
    """A distribution of independent values."""

    kind: str
    """gauss, exponential, uniform, power, flag or pick."""
    a: float = 0.0
    """Mean, scale, lower end, exponent, or probability of True."""
    b: float = 1.0
    """Width or upper end."""
    values: tuple[int, ...] = ()
    """Of pick: the values; each is as likely as the others."""

    def sample(self, rng: np.random.Generator, n: int) -> Array:
        """Return `n` values; float32 unless they are flags or picks."""
        match self.kind:
            case "gauss":
                return self.a + np.float32(self.b) * rng.standard_normal(n, np.float32)
            case "exponential":
                return np.float32(self.a) * rng.standard_exponential(n, np.float32)
            case "uniform":
                return np.float32(self.a) + np.float32(self.b - self.a) * rng.random(n, np.float32)
            case "power":
                return rng.random(n, np.float32) ** np.float32(self.a)
            case "flag":
                return rng.random(n, np.float32) < self.a
            case "pick":
                return np.take(self.values, rng.integers(0, len(self.values), n, np.uint8))
        raise AssertionError(self.kind)


@dataclass(frozen=True, slots=True)
class Field:
    """A branch, or a field of a collection."""

    name: str
    dtype: str
    title: str
    draw: Draw | None = None
    """None: the model computes the values."""
    bits: int = 23
    """Bits of the mantissa that are kept, of a float32."""


def gauss(name: str, mean: float, width: float, bits: int, title: str) -> Field:
    """Return a float field with normal values."""
    return Field(name, "float32", title, Draw("gauss", mean, width), bits)


def falling(name: str, scale: float, bits: int, title: str) -> Field:
    """Return a float field with exponential values."""
    return Field(name, "float32", title, Draw("exponential", scale), bits)


def uniform(name: str, low: float, high: float, bits: int, title: str) -> Field:
    """Return a float field with values in [low, high)."""
    return Field(name, "float32", title, Draw("uniform", low, high), bits)


def score(name: str, exponent: float, title: str, bits: int = 10) -> Field:
    """Return a float field with values in [0, 1), near 0 for a large and near 1 for a small exponent."""
    return Field(name, "float32", title, Draw("power", exponent), bits)


def flag(name: str, probability: float, title: str) -> Field:
    """Return a bool field."""
    return Field(name, "bool", title, Draw("flag", probability))


def pick(name: str, dtype: str, values: tuple[int, ...], title: str) -> Field:
    """Return an integer field; a value that stands twice is twice as likely."""
    return Field(name, dtype, title, Draw("pick", values=values))


def given(name: str, dtype: str, title: str, bits: int = 23) -> Field:
    """Return a field whose values the model computes."""
    return Field(name, dtype, title, None, bits)


def momentum(pt: str = "pt", mass: bool = True) -> tuple[Field, ...]:
    """Return pt, eta, phi and, if wanted, mass."""
    fields = (
        given("pt", "float32", pt, 10),
        given("eta", "float32", "eta", 12),
        given("phi", "float32", "phi", 12),
    )
    return (*fields, given("mass", "float32", "mass", 10)) if mass else fields


def _track() -> tuple[Field, ...]:
    return (
        gauss("dxy", 0.0, 0.01, 10, "dxy (with sign) wrt first PV, in cm"),
        falling("dxyErr", 0.003, 6, "dxy uncertainty, in cm"),
        gauss("dz", 0.0, 0.03, 10, "dz (with sign) wrt first PV, in cm"),
        falling("dzErr", 0.006, 6, "dz uncertainty, in cm"),
        falling("ip3d", 0.01, 10, "3D impact parameter wrt first PV, in cm"),
        falling("sip3d", 1.3, 10, "3D impact parameter significance wrt first PV"),
    )


def _isolation(scale: float) -> tuple[Field, ...]:
    return (
        falling("pfRelIso03_all", scale, 10, "PF relative isolation dR=0.3, total"),
        falling("pfRelIso03_chg", 0.6 * scale, 10, "PF relative isolation dR=0.3, charged component"),
        falling("miniPFRelIso_all", 0.8 * scale, 10, "mini PF relative isolation, total"),
        falling("miniPFRelIso_chg", 0.5 * scale, 10, "mini PF relative isolation, charged component"),
        falling("jetRelIso", scale, 10, "Relative isolation in matched jet (1/ptRatio-1)"),
        falling("jetPtRelv2", 2.0, 10, "Relative momentum of the lepton to the closest jet"),
    )


def _generated() -> tuple[Field, ...]:
    return (
        given("genPartIdx", "int16", "Index into genParticle list for MC matching"),
        given("genPartFlav", "uint8", "Flavour of genParticle for MC matching: 1 = prompt, 0 = unmatched"),
    )


COLLECTIONS: dict[str, tuple[str, tuple[Field, ...]]] = {
    "Electron": (
        "slimmedElectrons after basic selection (pt > 5)",
        (
            *momentum(),
            given("charge", "int32", "electric charge"),
            given("pdgId", "int32", "PDG code assigned by the event reconstruction"),
            *_track(),
            *_isolation(0.12),
            gauss("deltaEtaSC", 0.0, 0.04, 10, "delta eta (SC,ele) with sign"),
            falling("hoe", 0.03, 8, "H over E"),
            gauss("r9", 0.93, 0.05, 10, "R9 of the supercluster, calculated with full 5x5 region"),
            gauss("sieie", 0.011, 0.002, 10, "sigma_IetaIeta of the supercluster"),
            gauss("eInvMinusPInv", 0.0, 0.01, 10, "1/E_SC - 1/p_trk"),
            falling("energyErr", 1.2, 6, "energy error of the cluster-track combination"),
            score("mvaIso", 0.2, "MVA Iso ID score"),
            score("mvaNoIso", 0.2, "MVA noIso ID score"),
            flag("mvaIso_WP80", 0.78, "MVA Iso ID WP80"),
            flag("mvaIso_WP90", 0.88, "MVA Iso ID WP90"),
            flag("mvaNoIso_WP80", 0.78, "MVA noIso ID WP80"),
            flag("mvaNoIso_WP90", 0.88, "MVA noIso ID WP90"),
            flag("convVeto", 0.96, "pass conversion veto"),
            flag("isPFcand", 0.9, "electron is PF candidate"),
            pick("cutBased", "uint8", (0, 1, 2, 3, 4, 4, 4, 4), "cut-based ID (0:fail, 1:veto, … 4:tight)"),
            pick("lostHits", "uint8", (0, 0, 0, 0, 0, 0, 1, 2), "number of missing inner hits"),
            pick("tightCharge", "uint8", (2, 2, 2, 2, 1, 0), "Tight charge criteria"),
            pick("seedGain", "uint8", (12, 12, 12, 12, 6, 1), "Gain of the seed crystal"),
            given("jetIdx", "int16", "index of the associated jet (-1 if none)"),
            given("photonIdx", "int16", "index of the first associated photon (-1 if none)"),
            *_generated(),
        ),
    ),
    "FatJet": (
        "slimmedJetsAK8, i.e. ak8 fat jets for boosted analysis",
        (
            *momentum(),
            gauss("area", 2.0, 0.05, 10, "jet catchment area, for JECs"),
            falling("msoftdrop", 35.0, 10, "Corrected soft drop mass with PUPPI"),
            score("tau1", 1.2, "Nsubjettiness (1 axis)"),
            score("tau2", 1.8, "Nsubjettiness (2 axis)"),
            score("tau3", 2.4, "Nsubjettiness (3 axis)"),
            score("tau4", 3.0, "Nsubjettiness (4 axis)"),
            gauss("n2b1", 0.25, 0.08, 10, "N2 with beta=1"),
            gauss("n3b1", 0.9, 0.4, 10, "N3 with beta=1"),
            score("particleNet_QCD", 0.3, "ParticleNet QCD score"),
            score("particleNet_TvsQCD", 4.0, "ParticleNet tagger top vs QCD discriminator"),
            score("particleNet_WvsQCD", 4.0, "ParticleNet tagger W vs QCD discriminator"),
            score("particleNet_XbbVsQCD", 5.0, "ParticleNet tagger X->bb vs QCD discriminator"),
            pick("jetId", "uint8", (6, 6, 6, 6, 2, 0), "Jet ID flags bit1 is tight, bit2 is tightLepVeto"),
            pick("hadronFlavour", "uint8", (0, 0, 0, 0, 4, 5), "flavour from hadron ghost clustering"),
            given("subJetIdx1", "int16", "index of first subjet"),
            given("subJetIdx2", "int16", "index of second subjet"),
        ),
    ),
    "FsrPhoton": (
        "Final state radiation photons emitted by muons",
        (
            *momentum(mass=False),
            falling("dROverEt2", 0.003, 8, "deltaR to associated muon divided by photon et2"),
            falling("relIso03", 0.5, 8, "relative isolation in a 0.3 cone without CHS"),
            given("muonIdx", "int16", "index of associated muon"),
        ),
    ),
    "GenJet": (
        "slimmedGenJets, i.e. ak4 Jets made with visible genparticles",
        (
            *momentum(),
            given("partonFlavour", "int16", "flavour from parton matching"),
            given("hadronFlavour", "uint8", "flavour from hadron ghost clustering"),
        ),
    ),
    "GenPart": (
        "interesting gen particles",
        (
            *momentum(),
            given("genPartIdxMother", "int16", "index of the mother particle"),
            given("pdgId", "int32", "PDG id"),
            given("status", "int32", "Particle status. 1=stable"),
            given("statusFlags", "uint16", "gen status flags stored bitwise"),
        ),
    ),
    "Jet": (
        "slimmedJets, i.e. ak4 PFJets with JECs applied, after basic selection (pt > 15)",
        (
            *momentum(),
            gauss("area", 0.5, 0.03, 10, "jet catchment area, for JECs"),
            uniform("rawFactor", -0.1, 0.2, 6, "1 - Factor to get back to raw pT"),
            score("btagDeepFlavB", 6.0, "DeepJet b+bb+lepb tag discriminator"),
            score("btagDeepFlavCvB", 0.7, "DeepJet c vs b+bb+lepb discriminator"),
            score("btagDeepFlavCvL", 3.0, "DeepJet c vs uds+g discriminator"),
            score("btagDeepFlavQG", 1.0, "DeepJet g vs uds discriminator"),
            score("qgl", 0.8, "Quark vs Gluon likelihood discriminator"),
            score("puIdDisc", 0.2, "Pileup ID discriminant"),
            score("chHEF", 0.9, "charged Hadron Energy Fraction", 6),
            score("neHEF", 3.5, "neutral Hadron Energy Fraction", 6),
            score("chEmEF", 8.0, "charged Electromagnetic Energy Fraction", 6),
            score("neEmEF", 2.5, "neutral Electromagnetic Energy Fraction", 6),
            score("muEF", 12.0, "muon Energy Fraction", 6),
            gauss("bRegCorr", 1.05, 0.08, 10, "pt correction for b-jet energy regression"),
            score("bRegRes", 2.0, "res on pt corrected with b-jet regression"),
            pick("jetId", "uint8", (6, 6, 6, 6, 6, 2, 0), "Jet ID flags bit1 is tight, bit2 is tightLepVeto"),
            pick("puId", "uint8", (7, 7, 7, 7, 7, 6, 4, 0), "Pileup ID flags"),
            pick("nConstituents", "uint8", tuple(range(4, 44)), "Number of particles in the jet"),
            given("nMuons", "uint8", "number of muons in the jet"),
            given("nElectrons", "uint8", "number of electrons in the jet"),
            given("muonIdx1", "int16", "index of first matching muon"),
            given("muonIdx2", "int16", "index of second matching muon"),
            given("electronIdx1", "int16", "index of first matching electron"),
            given("electronIdx2", "int16", "index of second matching electron"),
            given("genJetIdx", "int16", "index of matched gen jet"),
            given("partonFlavour", "int16", "flavour from parton matching"),
            given("hadronFlavour", "uint8", "flavour from hadron ghost clustering"),
        ),
    ),
    "Muon": (
        "slimmedMuons after basic selection (pt > 3)",
        (
            *momentum(),
            given("charge", "int32", "electric charge"),
            given("pdgId", "int32", "PDG code assigned by the event reconstruction"),
            *_track(),
            *_isolation(0.1),
            falling("pfRelIso04_all", 0.12, 10, "PF relative isolation dR=0.4, total"),
            falling("ptErr", 0.4, 6, "ptError of the muon track"),
            falling("tkRelIso", 0.05, 10, "Tracker-based relative isolation dR=0.3 for highPt"),
            gauss("segmentComp", 0.85, 0.1, 10, "muon segment compatibility"),
            gauss("tunepRelPt", 1.0, 0.002, 6, "TuneP relative pt, tunePpt/pt"),
            score("mvaTTH", 0.3, "TTH MVA lepton ID score"),
            score("softMva", 0.5, "soft MVA ID score"),
            flag("isGlobal", 0.93, "muon is global muon"),
            flag("isTracker", 0.97, "muon is tracker muon"),
            flag("isPFcand", 0.96, "muon is PF candidate"),
            flag("looseId", 0.97, "muon is loose muon"),
            flag("mediumId", 0.92, "cut-based ID, medium WP"),
            flag("mediumPromptId", 0.85, "cut-based ID, medium prompt WP"),
            flag("tightId", 0.83, "cut-based ID, tight WP"),
            flag("softId", 0.8, "soft cut-based ID"),
            flag("triggerIdLoose", 0.9, "TriggerIdLoose ID"),
            pick("highPtId", "uint8", (0, 1, 2, 2), "high-pT cut-based ID (1 = tracker, 2 = global)"),
            pick("miniIsoId", "uint8", (0, 1, 2, 3, 4, 4), "MiniIso ID from miniAOD selector"),
            pick("pfIsoId", "uint8", (0, 1, 2, 3, 4, 5, 6, 6), "PFIso ID from miniAOD selector"),
            pick("tkIsoId", "uint8", (0, 1, 2, 2), "TkIso ID (1=TkIsoLoose, 2=TkIsoTight)"),
            pick("nStations", "uint8", (1, 2, 3, 3, 4, 4), "number of matched stations"),
            pick(
                "nTrackerLayers", "uint8", (9, 11, 12, 13, 13, 14, 14, 15), "number of layers in the tracker"
            ),
            pick("tightCharge", "uint8", (2, 2, 2, 2, 2, 0), "Tight charge criterion"),
            given("jetIdx", "int16", "index of the associated jet (-1 if none)"),
            given("fsrPhotonIdx", "int16", "Index of the associated FSR photon (-1 if none)"),
            *_generated(),
        ),
    ),
    "OtherPV": ("other primary vertices", (gauss("z", 0.0, 3.5, 8, "Z position of other primary vertices"),)),
    "Photon": (
        "slimmedPhotons after basic selection (pt > 5)",
        (
            *momentum(mass=False),
            falling("hoe", 0.05, 8, "H over E"),
            gauss("r9", 0.9, 0.08, 10, "R9 of the supercluster, calculated with full 5x5 region"),
            gauss("sieie", 0.012, 0.003, 10, "sigma_IetaIeta of the supercluster"),
            falling("pfRelIso03_all", 0.3, 10, "PF relative isolation dR=0.3, total"),
            falling("pfRelIso03_chg", 0.2, 10, "PF relative isolation dR=0.3, charged component"),
            falling("energyErr", 1.5, 6, "energy error of the cluster from regression"),
            score("mvaID", 0.6, "MVA ID score"),
            flag("mvaID_WP80", 0.5, "MVA ID WP80"),
            flag("mvaID_WP90", 0.6, "MVA ID WP90"),
            flag("electronVeto", 0.7, "pass electron veto"),
            flag("pixelSeed", 0.35, "has pixel seed"),
            pick(
                "cutBased", "uint8", (0, 1, 2, 3), "cut-based ID bitmap (0:fail, 1:loose, 2:medium, 3:tight)"
            ),
            pick("seedGain", "uint8", (12, 12, 12, 12, 6, 1), "Gain of the seed crystal"),
            given("electronIdx", "int16", "index of the associated electron (-1 if none)"),
            given("jetIdx", "int16", "index of the associated jet (-1 if none)"),
            *_generated(),
        ),
    ),
    "SV": (
        "secondary vertices from b and c decays",
        (
            *momentum(),
            falling("dlen", 1.2, 10, "decay length in cm"),
            falling("dlenSig", 25.0, 10, "decay length significance"),
            falling("dxy", 0.9, 10, "2D decay length in cm"),
            falling("dxySig", 22.0, 10, "2D decay length significance"),
            gauss("pAngle", 3.1, 0.05, 10, "pointing angle, i.e. acos(p_SV * (SV - PV))"),
            falling("chi2", 1.0, 8, "reduced chi2, i.e. chi/ndof"),
            gauss("x", 0.0, 0.6, 10, "secondary vertex X position, in cm"),
            gauss("y", 0.0, 0.6, 10, "secondary vertex Y position, in cm"),
            gauss("z", 0.0, 4.0, 14, "secondary vertex Z position, in cm"),
            pick("ntracks", "uint8", (2, 2, 2, 3, 3, 4, 5), "number of tracks"),
        ),
    ),
    "SubJet": (
        "slimmedJetsAK8 subjets of ak8 fat jets",
        (
            *momentum(),
            score("btagDeepB", 4.0, "DeepCSV b+bb tag discriminator"),
            score("tau1", 1.2, "Nsubjettiness (1 axis)"),
            score("tau2", 1.8, "Nsubjettiness (2 axis)"),
        ),
    ),
    "Tau": (
        "slimmedTaus after basic selection (pt > 18 and decay mode finding)",
        (
            *momentum(),
            given("charge", "int16", "electric charge"),
            gauss("dxy", 0.0, 0.02, 10, "dxy of lead track with respect to PV, in cm (with sign)"),
            gauss("dz", 0.0, 0.05, 10, "dz of lead track with respect to PV, in cm (with sign)"),
            falling("chargedIso", 3.0, 10, "charged isolation"),
            falling("neutralIso", 2.0, 10, "neutral (photon) isolation"),
            score("leadTkPtOverTauPt", 0.6, "pt of the leading track divided by tau pt"),
            score("rawDeepTauVSe", 0.3, "DeepTau raw score against electrons"),
            score("rawDeepTauVSjet", 1.5, "DeepTau raw score against jets"),
            score("rawDeepTauVSmu", 0.2, "DeepTau raw score against muons"),
            pick("idDeepTauVSe", "uint8", (0, 1, 3, 7, 15, 31, 63, 127), "DeepTau ID bits against electrons"),
            pick("idDeepTauVSjet", "uint8", (0, 0, 1, 1, 3, 7, 15, 63), "DeepTau ID bits against jets"),
            pick("idDeepTauVSmu", "uint8", (0, 1, 3, 7, 15, 15), "DeepTau ID bits against muons"),
            pick("decayMode", "uint8", (0, 0, 1, 1, 1, 2, 10, 10, 11), "decayMode()"),
            flag("idDecayModeOldDMs", 0.9, "tauID('decayModeFinding')"),
            given("jetIdx", "int16", "index of the associated jet (-1 if none)"),
            *_generated(),
        ),
    ),
    "TrigObj": (
        "trigger objects",
        (
            *momentum(mass=False),
            given("l1pt", "float32", "pt of associated L1 seed", 8),
            given("id", "uint16", "ID of the object: 11 = Electron, 13 = Muon"),
            pick("l1iso", "int32", (0, 1, 2, 3), "iso of associated L1 seed"),
            pick("filterBits", "uint32", (1, 2, 3, 9, 11, 513, 1057), "extra bits of associated information"),
        ),
    ),
}
"""Title and fields of each collection."""

LONE_LISTS: dict[str, tuple[str, int, float]] = {
    "LHEPdfWeight": ("LHE pdf variation weights (w_var / w_nominal)", 33, 0.01),
    "LHEScaleWeight": ("LHE scale variation weights (w_var / w_nominal)", 9, 0.1),
    "PSWeight": ("PS weights (w_var / w_nominal)", 4, 0.05),
}
"""Counted branches outside any collection: title, entries per event, spread around 1."""

SCALARS: tuple[Field, ...] = (
    gauss("PV_x", 0.07, 0.002, 13, "main primary vertex position x coordinate"),
    gauss("PV_y", 0.06, 0.002, 13, "main primary vertex position y coordinate"),
    gauss("PV_z", 0.0, 3.5, 16, "main primary vertex position z coordinate"),
    gauss("PV_ndof", 130.0, 40.0, 8, "main primary vertex number of degree of freedom"),
    falling("PV_chi2", 1.0, 8, "main primary vertex reduced chi2"),
    falling("PV_score", 8000.0, 8, "main primary vertex score, i.e. sum pt2 of clustered objects"),
    given("PV_npvs", "uint8", "total number of reconstructed primary vertices"),
    given("PV_npvsGood", "uint8", "number of good reconstructed primary vertices"),
    given("fixedGridRhoFastjetAll", "float32", "rho from all PF Candidates, used e.g. for JECs", 12),
    given("MET_pt", "float32", "pt", 10),
    given("MET_phi", "float32", "phi", 12),
    given("MET_sumEt", "float32", "scalar sum of Et", 10),
    given("MET_significance", "float32", "MET significance", 10),
    gauss("MET_covXX", 600.0, 120.0, 8, "xx element of met covariance matrix"),
    gauss("MET_covXY", 0.0, 60.0, 8, "xy element of met covariance matrix"),
    gauss("MET_covYY", 600.0, 120.0, 8, "yy element of met covariance matrix"),
    given("PuppiMET_pt", "float32", "pt", 10),
    given("PuppiMET_phi", "float32", "phi", 12),
    given("PuppiMET_sumEt", "float32", "scalar sum of Et", 10),
    given("RawMET_pt", "float32", "pt", 10),
    given("RawMET_phi", "float32", "phi", 12),
)

SIMULATED_SCALARS: tuple[Field, ...] = (
    given("genWeight", "float32", "generator weight"),
    given("Generator_weight", "float32", "MC generator weight", 14),
    falling("Generator_scalePDF", 90.0, 14, "Q2 scale for PDF"),
    score("Generator_x1", 3.0, "x1 fraction of proton momentum carried by the first parton", 14),
    score("Generator_x2", 3.0, "x2 fraction of proton momentum carried by the second parton", 14),
    pick("Generator_id1", "int32", (-2, -1, 1, 1, 2, 2, 2, 21), "id of first parton"),
    pick("Generator_id2", "int32", (-2, -1, 1, 1, 2, 2, 2, 21), "id of second parton"),
    given("GenMET_pt", "float32", "pt", 10),
    given("GenMET_phi", "float32", "phi", 10),
    given(
        "Pileup_nTrueInt", "float32", "the true mean number of the poisson distribution for this event", 10
    ),
    given("Pileup_nPU", "int32", "the number of pileup interactions that have been added to the event"),
)

FLAGS = (
    "goodVertices globalSuperTightHalo2016Filter HBHENoiseFilter HBHENoiseIsoFilter "
    "EcalDeadCellTriggerPrimitiveFilter BadPFMuonFilter BadPFMuonDzFilter eeBadScFilter "
    "ecalBadCalibFilter hfNoisyHitsFilter METFilters"
).split()
"""Names of the noise filters, written as Flag_*; nearly always true."""

TRIGGERS: tuple[tuple[str, str, int, float, float], ...] = (
    ("HLT_IsoMu24", "Muon", 1, 24.0, 0.92),
    ("HLT_IsoMu27", "Muon", 1, 27.0, 0.91),
    ("HLT_Mu50", "Muon", 1, 50.0, 0.93),
    ("HLT_Mu17_TrkIsoVVL_Mu8_TrkIsoVVL_DZ_Mass3p8", "Muon", 2, 17.0, 0.94),
    ("HLT_Mu37_TkMu27", "Muon", 2, 27.0, 0.9),
    ("HLT_TripleMu_12_10_5", "Muon", 3, 10.0, 0.9),
    ("HLT_Ele27_WPTight_Gsf", "Electron", 1, 27.0, 0.85),
    ("HLT_Ele32_WPTight_Gsf", "Electron", 1, 32.0, 0.86),
    ("HLT_Ele23_Ele12_CaloIdL_TrackIdL_IsoVL", "Electron", 2, 18.0, 0.92),
    ("HLT_DoubleEle25_CaloIdL_MW", "Electron", 2, 25.0, 0.93),
    ("HLT_Photon50", "Photon", 1, 50.0, 0.95),
    ("HLT_Photon200", "Photon", 1, 200.0, 0.97),
    ("HLT_DoublePhoton70", "Photon", 2, 70.0, 0.95),
    ("HLT_MediumChargedIsoPFTau180HighPtRelaxedIso_Trk50_eta2p1", "Tau", 1, 180.0, 0.8),
    ("HLT_DoubleTightChargedIsoPFTau35_Trk1_eta2p1_Reg", "Tau", 2, 35.0, 0.75),
    ("HLT_PFJet40", "Jet", 1, 40.0, 0.02),
    ("HLT_PFJet140", "Jet", 1, 140.0, 0.2),
    ("HLT_PFJet500", "Jet", 1, 500.0, 0.98),
    ("HLT_PFHT180_QuadJet30", "Jet", 4, 30.0, 0.6),
    ("HLT_DiPFJetAve60", "Jet", 2, 60.0, 0.1),
    ("HLT_AK8PFJet400_TrimMass30", "FatJet", 1, 400.0, 0.9),
)
"""Name, collection, objects needed, their pt in GeV, probability to fire then."""


def bit_names(count: int) -> list[str]:
    """Return `count` further trigger and L1 seed names, as real files have hundreds of."""
    objects = "Mu Ele Photon PFJet AK8PFJet PFHT PFMET DoubleMu DoubleEle DiPFJet Tau BTagMu".split()
    kinds = "IsoVL WPLoose_Gsf eta2p1 NoFiltersNoVtx TrkIsoVVL DZ Mass8 R9Id90 PFBTagDeepCSV Run2 v2".split()
    paths = [f"HLT_{o}{9 + 7 * i}_{k}" for i in range(12) for o in objects for k in kinds]
    seeds = [f"L1_{o}{3 + 4 * i}_{k}" for i in range(12) for o in objects for k in ("er2p1", "er1p5", "OQ")]
    names = [name for pair in zip(paths, seeds, strict=False) for name in pair] + paths[len(seeds) :]
    assert count <= len(names)
    return names[:count]
