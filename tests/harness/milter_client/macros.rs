//! The macros that go before each step, as Postfix sends them or as the milter has asked for.

use super::wire::{Packet, strings};

/// Macro values, and the names of those that belong to each stage.
#[derive(Debug)]
pub(super) struct Macros {
    lists: Vec<(u8, Vec<String>)>,
    values: Vec<(String, String)>,
}

impl Macros {
    /// What Postfix says by default.
    pub(super) fn postfix() -> Self {
        let lists = POSTFIX_LISTS.iter().map(|(stage, names)| (*stage, words(names))).collect();
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self { lists, values: VALUES.into_iter().map(pair).collect() }
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.values.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn unset(&mut self, name: &str) {
        self.values.retain(|(other, _)| other != name);
    }

    /// The packet that goes before the step of this letter; None if there is nothing to say.
    pub(super) fn packet(&self, stage: u8) -> Option<Packet> {
        let (_, names) = self.lists.iter().find(|(other, _)| *other == stage)?;
        let mut data = vec![stage];
        for name in names {
            if let Some((_, value)) = self.values.iter().find(|(other, _)| other == name) {
                data.extend(strings(&[name.as_bytes(), value.as_bytes()]));
            }
        }
        (data.len() > 1).then(|| Packet::new(b'D', data))
    }

    /// Takes the lists at the end of an option packet (`SMFIF_SETSYMLIST`): a stage's number and its names, repeated.
    pub(super) fn take_lists(&mut self, mut data: &[u8]) {
        while let Some((number, rest)) = data.split_first_chunk::<4>() {
            let end = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
            let names = words(&String::from_utf8_lossy(&rest[..end]).replace(',', " "));
            let stage = usize::try_from(u32::from_be_bytes(*number)).unwrap();
            if let Some(stage) = SYMLIST_STAGES.get(stage) {
                self.lists.retain(|(other, _)| other != stage);
                self.lists.push((*stage, names));
            }
            data = rest.get(end + 1..).unwrap_or_default();
        }
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

const VALUES: [(&str, &str); 6] = [
    ("j", "mx.test.example"),
    ("v", "Postfix 3.7.11"),
    ("{daemon_name}", "smtpd"),
    ("{daemon_addr}", "192.0.2.250"),
    ("{client_connections}", "1"),
    ("i", "4Xq2Test01z1"),
];

/// Postfix's `milter_*_macros` by stage.
const POSTFIX_LISTS: [(u8, &str); 7] = [
    (b'C', "j {daemon_name} {daemon_addr} v _ {client_addr} {client_name} {client_connections}"),
    (b'H', "{tls_version} {cipher} {cipher_bits} {cert_subject} {cert_issuer}"),
    (b'M', "i {auth_type} {auth_authen} {auth_author} {mail_addr} {mail_host} {mail_mailer}"),
    (b'R', "i {rcpt_addr} {rcpt_host} {rcpt_mailer}"),
    (b'T', "i"),
    (b'N', "i"),
    (b'E', "i"),
];

/// The stages by their number in a macro list (`SMFIM_*`).
const SYMLIST_STAGES: [u8; 7] = [b'C', b'H', b'M', b'R', b'T', b'E', b'N'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_asked_for_take_the_place_of_postfixs() {
        let mut macros = Macros::postfix();
        macros.set("{auth_authen}", "anna");
        let packet = macros.packet(b'M').unwrap();
        assert_eq!(packet.data, b"Mi\x004Xq2Test01z1\0{auth_authen}\0anna\0");
        // Stage 2 is MAIL, stage 5 the end of the message.
        macros.take_lists(b"\0\0\0\x02{auth_authen}\0\0\0\0\x05j,i\0");
        assert_eq!(macros.packet(b'M').unwrap().data, b"M{auth_authen}\0anna\0");
        assert_eq!(macros.packet(b'E').unwrap().data, b"Ej\0mx.test.example\0i\x004Xq2Test01z1\0");
        macros.unset("{auth_authen}");
        assert_eq!(macros.packet(b'M'), None);
    }
}
