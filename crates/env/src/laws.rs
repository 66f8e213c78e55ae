//! What any environment must obey.
