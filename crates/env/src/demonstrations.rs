//! Worked attempts, one JSON object per line.
