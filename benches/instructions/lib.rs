//! Nothing: all there is here is the bench.
