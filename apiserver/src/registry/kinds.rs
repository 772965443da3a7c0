//! One file per kind: its strategy and nothing else.
