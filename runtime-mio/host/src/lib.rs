//! What both drivers need of an operating system, once.
