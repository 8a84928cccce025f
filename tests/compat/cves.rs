//! docs/cves.md (filled in below).
