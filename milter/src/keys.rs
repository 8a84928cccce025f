//! Private keys: load, check permissions, hold, load again when the file changes.
