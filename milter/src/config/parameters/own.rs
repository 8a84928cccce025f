//! Parameters that OpenDKIM does not have.

use crate::config::directives::{
    Kind::{Boolean, Integer, String},
    Parameter,
};

#[rustfmt::skip]
pub(in crate::config) const TABLE: &[Parameter] = &[
    Parameter::honoured("MilterReplies", String, "auto", "auto leaves out replies that the MTA agreed to do without; always sends every reply.").own(),
    Parameter::honoured("MaximumConnections", Integer, "1000", "Connections of MTAs at a time, 1 to 100000; further ones wait.").own(),
    Parameter::honoured("IdleTimeout", Integer, "7210", "Seconds that an MTA may be silent between messages, 1 to 86400.").own(),
    Parameter::honoured("MessageTimeout", Integer, "600", "Seconds that an MTA may be silent within a message, 1 to 86400.").own(),
    Parameter::honoured("DrainTimeout", Integer, "60", "Seconds that messages in hand get to finish at SIGTERM, 0 to 86400.").own(),
    Parameter::honoured("SignMultipleFrom", Boolean, "no", "Sign messages with several From fields, too.").own(),
    Parameter::honoured("UnknownParameters", String, "refuse", "refuse or warn: what comes of names that neither OpenDKIM nor Postrider knows.").own(),
];
