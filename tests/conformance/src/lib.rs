//! Real AerynOS data against our codecs and parsers; the suites are in `tests/`.
