//! The data sets that opendkim.conf names: lists, files and patterns.
