//! Paths, their tracks, and who watches them. A stream outlives its publishers: its sequence
//! numbers and timestamps go on when another one takes over.

pub(crate) mod audience;
pub(crate) mod cursor;
pub(crate) mod history;
pub(crate) mod keyframes;
pub(crate) mod path;
pub(crate) mod track;
