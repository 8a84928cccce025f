//! The example messages of RFC 6376 appendix A and RFC 8463 appendix A.

use super::*;

const RFC_BODY: &str = "Hi.\r\n\r\nWe lost the game. Are you hungry yet?\r\n\r\nJoe.\r\n";

const COMMON: &[(&str, &str)] = &[
    ("From", " Joe SixPack <joe@football.example.com>"),
    ("To", " Suzie Q <suzie@shopping.example.net>"),
    ("Subject", " Is dinner ready?"),
    ("Date", " Fri, 11 Jul 2003 21:00:37 -0700 (PDT)"),
    ("Message-ID", " <20030712040037.46341.5F8J@football.example.com>"),
];

const ED25519_SIGNATURE: &str = " v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==";

const RSA_SIGNATURE: &str = " v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=";

const RSA_1024_RECORD: &str = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3id\
    Y6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvH\
    O9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";

fn block(top: &[(&str, &str)]) -> HeaderBlock {
    let mut headers = HeaderBlock::new();
    top.iter().chain(COMMON).for_each(|(name, value)| headers.push(name.as_bytes(), value.as_bytes()));
    headers
}

#[test]
fn rfc_6376_appendix_a() {
    let signature = " v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;";
    let received = " from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)";
    let headers = block(&[("DKIM-Signature", signature), ("Received", received)]);
    let record = "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt\
        IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaN\
        BcWToIMmPSPDdQPNUYckcQ2QIDAQAB";
    let verification = Verification::begin(&headers, None, |_| false, &VerifyPolicy::at(NOW));
    assert_eq!(verification.queries().collect::<Vec<_>>(), [(0, "brisbane._domainkey.example.com")]);
    let answer = records(&[record]);
    let result = verify(&headers, RFC_BODY, &VerifyPolicy::at(NOW), &answer).remove(0);
    assert_eq!(result.result, AuthResult::Pass);
    assert_eq!(result.key_bits, Some(1024));
    assert_eq!(result.claims.identity.as_deref(), Some("joe@football.example.com"));
    assert!(result.claims.signature_base64.starts_with("AuUoFEfDxTDk"));
    let strict = VerifyPolicy { minimum_key_bits: 2048, ..VerifyPolicy::at(NOW) };
    assert_eq!(verify(&headers, RFC_BODY, &strict, &answer)[0].reason, Reason::KeyTooSmall);
}

#[test]
fn rfc_8463_appendix_a() {
    let headers = block(&[("DKIM-Signature", ED25519_SIGNATURE), ("DKIM-Signature", RSA_SIGNATURE)]);
    let mut verification = Verification::begin(&headers, None, |_| false, &VerifyPolicy::at(NOW));
    let answers = [records(&[ED25519_RECORD]), records(&[RSA_1024_RECORD])];
    assert_eq!(
        verification.queries().map(|(_, name)| name).collect::<Vec<_>>(),
        ["brisbane._domainkey.football.example.com", "test._domainkey.football.example.com"]
    );
    verification.body(RFC_BODY.as_bytes());
    let results = verification.finish(|query| answers.get(query));
    assert_eq!(results[0].result, AuthResult::Pass, "{}", results[0].reason);
    assert_eq!(results[1].result, AuthResult::Pass, "{}", results[1].reason);
}

#[test]
fn rfc_8463_key_makes_the_printed_signature() {
    assert_eq!(base64::encode(&ED25519.public_key().unwrap()), ED25519_RECORD.split("p=").nth(1).unwrap());
    let headers = block(&[("DKIM-Signature", ED25519_SIGNATURE)]);
    let field = headers.get(0).unwrap();
    let signature = Signature::parse(field.value).1.unwrap();
    let hash = header_hash(&mut Chooser::new(&headers), 0, field, &signature);
    assert_eq!(ED25519.sign(&hash).unwrap(), signature.signature);
}
