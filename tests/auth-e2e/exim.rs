//! A real Exim with `driver = dovecot`.

use harness::auth::AuthServer;
use harness::exim::Exim;
use harness::milter::Subject;
use harness::sasl::Sasl;
use harness::scratch::Scratch;

use crate::site::{PASSWORD, users};

#[test]
fn exim_logs_in() {
    let scratch = Scratch::new("exim");
    let mut auth = AuthServer::start(&scratch, "auth", Subject::from_env(), &users());
    let exim = Exim::start(&scratch, &auth);
    for mechanism in ["PLAIN", "LOGIN", "CRAM-MD5"] {
        let good = Sasl::new(mechanism, "plain", PASSWORD);
        exim.smtp().auth(&good).expect(235);
        exim.smtp().auth(&good.without_initial()).expect(235);
        exim.smtp().auth(&Sasl::new(mechanism, "plain", "wrong")).expect(535);
        exim.smtp().auth(&Sasl::new(mechanism, "nosuch", PASSWORD)).expect(535);
    }
    exim.smtp().auth(&Sasl::new("PLAIN", "sha512", PASSWORD)).expect(235);
    exim.smtp().auth(&Sasl::new("CRAM-MD5", "sha512", PASSWORD)).expect(535);

    let mut client = exim.smtp();
    client.mail("plain@a.example", "").expect(250);
    client.rcpt("anna@a.example").expect(550);
    client.rset().expect(250);
    client.command("AUTH LOGIN").expect(334);
    client.command("*").expect(501);
    client.auth(&Sasl::new("PLAIN", "plain", PASSWORD)).expect(235);
    client.mail("plain@a.example", "").expect(250);
    client.rcpt("anna@a.example").expect(250);

    // While nobody answers the client is told to come again.
    auth.kill();
    exim.smtp().auth(&Sasl::new("PLAIN", "plain", PASSWORD)).expect(435);
    auth.start_again();
    exim.smtp().auth(&Sasl::new("PLAIN", "plain", PASSWORD)).expect(235);
}
