//! Known data sets as task files.
