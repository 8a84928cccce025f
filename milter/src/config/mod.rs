//! From opendkim.conf to checked settings.
