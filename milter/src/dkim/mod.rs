//! The pure core of DKIM: no sockets, no clock, no files.
