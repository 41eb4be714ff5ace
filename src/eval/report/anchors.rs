//! Figures that others published, each with its setting. None was measured here and none is comparable row by row.

use serde::Serialize;

/// A published figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Anchor {
    /// Who and on what.
    pub source: &'static str,
    /// What they got.
    pub figure: &'static str,
    /// Whether it was read in the source's own files or second-hand.
    pub read: &'static str,
}

/// The published figures.
pub const ANCHORS: &[Anchor] = &[
    Anchor {
        source: "RouteLLM, MMLU, GPT-4-1106 / Mixtral (Arena + about 1,500 MMLU labels)",
        figure: "best APGR .603, CPT50 about 35%",
        read: "second-hand",
    },
    Anchor { source: "RouteLLM, GSM8K", figure: "best APGR .622, CPT50 33.64%, CPT80 63.26%", read: "second-hand" },
    Anchor {
        source: "RouteLLM, MT-Bench (72 questions: quote, do not claim to beat)",
        figure: "best APGR .802, CPT50 13.40%",
        read: "second-hand",
    },
    Anchor {
        source: "RouterBench, AIQ on MMLU / ARC-C / RAG",
        figure: "zero router .763 / .877 / .632; kNN .773 / .871 / .695; MLP .769 / .875 / .675",
        read: "second-hand",
    },
    Anchor {
        source: "LLMRouterBench, 20 models of 8B, mean accuracy",
        figure: "EmbedLLM 71.24, GraphRouter 70.29, MODEL-SAT 71.88, Avengers 71.94, data-set oracle 73.10; RouterDC 61.33",
        read: "source",
    },
    Anchor {
        source: "Avengers-Pro, six benchmarks",
        figure: "GPT-5-medium 62.25 at $47.96; router 62.66 at $35.05, 66.66 at $47.13",
        read: "second-hand",
    },
    Anchor {
        source: "RouterArena, July 2026",
        figure: "first 75.30 (accuracy 77.18, $.30 per 1,000); RouterBench-MLP 57.56, RouteLLM 48.07; pool oracle accuracy 90.89",
        read: "source",
    },
    Anchor {
        source: "ParetoBandit, 1,824 prompts, 20 seeds",
        figure: "B = 6.6e-4: .898, while fixed Mistral-Large has .923 at 5.3e-4; +.071 after a price cut, 142 steps to take up a new arm",
        read: "source",
    },
    Anchor {
        source: "Prefill-activation router",
        figure: "closes 45.6% of best single -> oracle: text vectors are a bottleneck",
        read: "second-hand",
    },
];
