//! May this caller, now?
