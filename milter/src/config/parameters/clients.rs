//! Parameters that say whose mail is signed, and whose is left alone.

use crate::config::directives::{
    Kind::{Boolean, DataSet},
    Parameter,
};

#[rustfmt::skip]
pub(in crate::config) const TABLE: &[Parameter] = &[
    Parameter::honoured("InternalHosts", DataSet, "127.0.0.1,::1", "Hosts, domains, addresses and networks whose mail is signed; ! before one excludes it. Setting it replaces the default."),
    Parameter::honoured("ExternalIgnoreList", DataSet, "", "Hosts that may send as our domains without a line in the log; nothing else comes of it."),
    Parameter::honoured("PeerList", DataSet, "", "Hosts whose mail is accepted untouched."),
    Parameter::honoured("ExemptDomains", DataSet, "", "Domains of senders whose mail is accepted untouched; subdomains are not meant."),
    Parameter::honoured("MacroList", DataSet, "", "Milter macros, name or name=value1|value2, that mark mail to be signed."),
    Parameter::honoured("MTA", DataSet, "", "Names of MTAs, as {daemon_name} gives them, whose mail is signed."),
    Parameter::ignored("QueryCache", Boolean, "no", "Keep key records for their time to live.",
        "key records are always kept for their time to live").at_start(),
];
