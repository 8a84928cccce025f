//! Which fields are signed and how the signature is written.

use harness::message::Message;

use crate::case::{Setup, plain};

#[test]
fn the_default_set() {
    let mut pair = Setup::signing("").start();
    pair.case("order and spelling are the message's, Message-ID is not in the set")
        .message(
            Message::default()
                .field("Received", "by x")
                .field("SUBJECT", "x")
                .field("from", "anna@a.example")
                .field("Sender", "anna@a.example")
                .field("To", "bob@b.example")
                .field("Reply-To", "c@a.example")
                .field("Message-ID", "<1@a.example>")
                .field("MIME-Version", "1.0")
                .field("Content-Type", "text/plain")
                .field("In-Reply-To", "<0@a.example>")
                .field("References", "<0@a.example>")
                .field("List-Id", "<l.a.example>")
                .field("X-Other", "x")
                .body("Hello!\n"),
        )
        .want("sign a.example/s h=SUBJECT:from:To:Reply-To:In-Reply-To:References:List-Id");
    pair.case("every instance of a field")
        .fields(&[("To", "c@b.example"), ("Cc", "d@b.example"), ("cc", "e@b.example")])
        .want("sign a.example/s h=From:To:Subject:Date:To:Cc:cc");
    pair.case("a name with a semicolon is ignored").fields(&[("X;Y", "x")]).want("sign a.example/s");
    pair.case("an empty field").fields(&[("Cc", "")]).want("sign a.example/s h=From:To:Subject:Date:Cc");
}

#[test]
fn sign_headers() {
    let mut pair = Setup::signing("SignHeaders subject,X-*").start();
    pair.case("a list replaces the set, From is always in it, * is a pattern")
        .fields(&[("X-One", "1"), ("Y-Two", "2"), ("x-three", "3")])
        .want("sign a.example/s h=From:Subject:X-One:x-three");
    drop(pair);
    let mut pair = Setup::signing("SignHeaders *,+Message-ID,+X-A,-Date,Sender").start();
    pair.case("with * the list changes the set; entries without a sign have no effect")
        .fields(&[("X-A", "1"), ("Sender", "anna@a.example")])
        .want("sign a.example/s h=From:To:Subject:Message-ID:X-A");
    drop(pair);
    let mut pair = Setup::signing("SignHeaders {dir}/names").file("names", "Date # when\nTo\n").start();
    pair.case("a file of names").want("sign a.example/s h=From:To:Date");
}

#[test]
fn omit_headers() {
    let mut pair = Setup::signing("OmitHeaders Date, To, From").start();
    pair.case("From cannot be omitted").differs(
        "D24",
        "AR mx.test.example: permerror",
        "sign a.example/s h=From:Subject",
    );
    drop(pair);
    let mut pair = Setup::signing("OmitHeaders Date, To").start();
    pair.case("omitted, with blanks after the commas").want("sign a.example/s h=From:Subject");
    drop(pair);
    let mut pair = Setup::signing("SignHeaders Subject,Date\nOmitHeaders *,+date").start();
    pair.case("what both lists name is omitted").want("sign a.example/s h=From:Subject");
    drop(pair);
    let mut pair = Setup::signing("OmitHeaders .").start();
    pair.case("a list that matches nothing").want("sign a.example/s");
}

#[test]
fn oversign_headers() {
    let mut pair = Setup::signing("OversignHeaders From,Subject,Cc").start();
    pair.case("named once more behind all others, whether there or not")
        .want("sign a.example/s h=From:To:Subject:Date:From:Subject:Cc");
    pair.case("several instances, one more")
        .fields(&[("Cc", "x@b.example"), ("Cc", "y@b.example")])
        .want("sign a.example/s h=From:To:Subject:Date:Cc:Cc:From:Subject:Cc");
    drop(pair);
    let mut pair = Setup::signing("OversignHeaders X-Mailer").start();
    pair.case("an oversigned name that is not in the set, and not there")
        .want("sign a.example/s h=From:To:Subject:Date:X-Mailer");
    pair.case("and there: left out of the set, the signature would be invalid")
        .fields(&[("X-Mailer", "x")])
        .differs(
            "D24",
            "sign a.example/s h=From:To:Subject:Date:X-Mailer",
            "sign a.example/s h=From:To:Subject:Date:X-Mailer:X-Mailer",
        );
}

#[test]
fn canonicalizations() {
    for (value, c) in [
        ("simple", ""),
        ("relaxed", " c=relaxed/simple"),
        ("relaxed/relaxed", " c=relaxed/relaxed"),
        ("Simple/Relaxed", " c=simple/relaxed"),
    ] {
        let mut pair = Setup::signing(&format!("Canonicalization {value}")).start();
        pair.case("a missing part is simple").want(&format!("sign a.example/s{c}"));
    }
}

#[test]
fn expiry() {
    let mut pair = Setup::signing("SignatureTTL 3600").start();
    pair.case("x= is that much later than t=").want("sign a.example/s x=t+3600");
    drop(pair);
    let mut pair = Setup::signing("SignatureTTL 0").start();
    pair.case("0 is never").want("sign a.example/s");
}

#[test]
fn old_signatures() {
    let old = || {
        crate::signer::signature("a.example", "old")
            .sign(&crate::signer::signature("c.example", "x").sign(&plain()))
    };
    let mut pair = Setup::signing("RemoveOldSignatures yes").start();
    pair.case("all signatures that were there are removed").message(old()).differs(
        "D27",
        "-DKIM-Signature[0], -DKIM-Signature[0], sign a.example/s",
        "-DKIM-Signature[2], -DKIM-Signature[1], sign a.example/s",
    );
    pair.case("none was there").want("sign a.example/s");
    drop(pair);
    let mut pair = Setup::signing("").start();
    pair.case("they stay by default").message(old()).want("sign a.example/s");
    pair.case("a malformed signature on the message does not prevent signing")
        .fields(&[("DKIM-Signature", "v=1")])
        .differs("D21", "accept @N", "sign a.example/s");
}

#[test]
fn line_ends_of_bodies() {
    let bodies: [(&str, &[u8], &str, &str); 4] = [
        ("an empty body", b"", "frcCV1k9", "frcCV1k9"),
        ("blank lines only", b"\r\n\r\n\r\n", "frcCV1k9", "frcCV1k9"),
        ("no line end at the end", b"Hello!", "EVfAHeUM", "EVfAHeUM"),
        ("blank lines at the end", b"Hello!\r\n\r\n\r\n", "EVfAHeUM", "EVfAHeUM"),
    ];
    let mut plain_pair = Setup::signing("").start();
    let mut fixing = Setup::signing("FixCRLF yes").start();
    for (why, body, raw, fixed) in bodies {
        plain_pair.case(why).raw_body(body).want(&format!("sign a.example/s bh={raw}"));
        fixing.case(why).raw_body(body).want(&format!("sign a.example/s bh={fixed}"));
    }
}

#[test]
fn bare_line_ends_in_bodies() {
    let mut pair = Setup::signing("").start();
    let mut fixing = Setup::signing("FixCRLF yes").start();
    // SHA-256 of one LF two CR, of one LF two CRLF, of one CRLF two CRLF, and so on.
    pair.case("a bare LF is hashed as it is").raw_body(b"one\ntwo\r\n").differs(
        "D28",
        "sign a.example/s bh=weOoX/sU",
        "sign a.example/s bh=spDZgr9R",
    );
    fixing.case("a bare LF becomes CRLF").raw_body(b"one\ntwo\r\n").want("sign a.example/s bh=b0eSsmX+");
    pair.case("a bare CR is hashed as it is").raw_body(b"one\rtwo\r\n").want("sign a.example/s bh=rZUXEXm3");
    fixing.case("a bare CR becomes CRLF").raw_body(b"one\rtwo\r\n").want("sign a.example/s bh=b0eSsmX+");
    drop((pair, fixing));
    let mut pair = Setup::signing("Canonicalization relaxed/relaxed").start();
    let mut fixing = Setup::signing("Canonicalization relaxed/relaxed\nFixCRLF yes").start();
    for (why, body, reference, raw, fixed) in [
        ("a bare LF", b"one\ntwo \r\n" as &[u8], Ok("spDZgr9R"), "spDZgr9R", "b0eSsmX+"),
        (
            "a bare CR",
            b"one\rtwo\r\n",
            Err("sign a.example/s c=relaxed/relaxed bh=aRnXC/mn"),
            "rZUXEXm3",
            "b0eSsmX+",
        ),
        ("a bare LF at the end", b"one\ntwo\r\nthree\n", Err("nothing"), "HYZt1JxR", "n8TGvcfl"),
        ("no line end at the end", b"Hello!", Err("nothing"), "EVfAHeUM", "EVfAHeUM"),
        ("blanks of all kinds", b" one\t \r\n\r\n two\r\n", Ok("LN9oJFah"), "LN9oJFah", "LN9oJFah"),
    ] {
        let signed = |bh: &str| format!("sign a.example/s c=relaxed/relaxed bh={bh}");
        let ours = signed(raw);
        match reference {
            Ok(bh) => pair.case(why).raw_body(body).want(&signed(bh)),
            Err(other) => pair.case(why).raw_body(body).differs("D28", other, &ours),
        }
        fixing.case(why).raw_body(body).want(&signed(fixed));
    }
}

#[test]
fn very_many_fields() {
    let message = (0..400).fold(plain(), |message, n| message.field(&format!("X-Field-Number-{n}"), "x"));
    let signed = |count| {
        let names: String = (0..count).map(|n| format!(":X-Field-Number-{n}")).collect();
        format!("sign a.example/s h=From:To:Subject:Date{names}")
    };
    let mut pair = Setup::signing("SignHeaders *,+X-*").start();
    pair.case("h= of 8 KiB").message(message).differs("D31", &signed(220), &signed(400));
}
