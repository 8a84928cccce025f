//! KeyTable and SigningTable: forms, order, %, signers, several signatures, and what is wrong with them.

use harness::keys::RSA;

use crate::case::Setup;

const KEYS: &str = "one a.example:s1:{dir}/rsa\ntwo a.example:s2:{dir}/other\nsub sub.a.example:s3:{dir}/rsa\n\
                    any %:s4:{dir}/rsa\nc.example c.example:s5:{dir}/rsa\n";

fn tables(conf: &str, signing: &str) -> Setup {
    Setup::new(&format!("KeyTable {{dir}}/keys\n{conf}")).file("keys", KEYS).file("senders", signing)
}

#[test]
fn flat_forms_and_their_order() {
    let senders = "x@.example star\nanna@sub.a.example two\nsub.a.example sub\nbob@.a.example two\n.a.example one\n\
                   root@* any\na.example one\n";
    let senders = senders.replace("x@.example star\n", "");
    let mut pair = tables("SigningTable {dir}/senders", &senders).start();
    pair.case("user@domain comes first").from("anna@sub.a.example").want("sign a.example/s2");
    pair.case("then the domain").from("bob@sub.a.example").want("sign sub.a.example/s3");
    pair.case("then user@.parent").from("bob@deep.a.example").want("sign a.example/s2");
    pair.case("then .parent").from("carl@deep.sub.a.example").want("sign a.example/s1");
    pair.case(".parent is not the parent itself, which has a line of its own")
        .from("bob@a.example")
        .want("sign a.example/s1");
    pair.case("user@* for any domain").from("root@z.example").want("sign z.example/s4");
    pair.case("no form matches").from("anna@z.example").untouched();
    pair.case("case does not matter").from("ANNA@Sub.A.example").want("sign a.example/s2");
}

#[test]
fn a_catch_all() {
    let mut pair = tables("SigningTable {dir}/senders", "* any\na.example one\n").start();
    pair.case("* is tried last").want("sign a.example/s1");
    pair.case("and matches the rest; % is the sender's domain").from("x@Z.Example").want("sign z.example/s4");
    pair.case("strangers' mail is never looked up").client("far.c.example", "192.0.2.9").untouched();
}

#[test]
fn patterns_in_order() {
    let senders = "news*@a.example two\n*@a.example one\n*@*.a.example sub\nx.y+z@d.example any\n";
    let mut pair = tables("SigningTable refile:{dir}/senders", senders).start();
    pair.case("the first line that matches").from("newsletter@a.example").want("sign a.example/s2");
    pair.case("the second").want("sign a.example/s1");
    pair.case("a pattern over labels; d= is the key's")
        .from("x@b.sub.a.example")
        .want("sign sub.a.example/s3");
    pair.case("dots and plus are themselves").from("x.y+z@d.example").want("sign d.example/s4");
    pair.case("a dot is not any character").from("x.yyz@d.example").untouched();
    pair.case("case does not matter").from("NEWS@A.example").want("sign a.example/s2");
}

#[test]
fn several_signatures() {
    let mut pair = tables(
        "SigningTable refile:{dir}/senders\nMultipleSignatures yes",
        "*@a.example one\nanna@a.example two\nanna@* any\n*@b.example any\nbob@* one\n",
    )
    .start();
    pair.case("every line that matches signs, each above the one before").differs(
        "D20",
        "sign a.example/s1, sign a.example/s4",
        "sign a.example/s1, sign a.example/s2, sign a.example/s4",
    );
    pair.case("two lines that match").from("bob@b.example").want("sign b.example/s4, sign a.example/s1");
    drop(pair);
    let mut pair = tables(
        "SigningTable {dir}/senders\nMultipleSignatures yes",
        "a.example one\nanna@a.example two\n* any\n",
    )
    .start();
    pair.case("in a flat table every form that is there").differs(
        "D20",
        "sign a.example/s2, sign a.example/s4",
        "sign a.example/s2, sign a.example/s1, sign a.example/s4",
    );
}

#[test]
fn rsa_and_ed25519() {
    let keys = "one a.example:s1:{dir}/rsa\ntwo a.example:s2:{dir}/ed\n";
    let conf = "KeyTable {dir}/keys\nSigningTable refile:{dir}/senders\nMultipleSignatures yes";
    let setup = Setup::new(conf).file("keys", keys).file("senders", "*@a.example one\n*@a.example two\n");
    let mut pair = setup.start();
    pair.case("each key signs with its own algorithm").differs(
        "D19",
        "451 4.7.0 resource unavailable",
        "sign a.example/s1, sign a.example/s2 a=ed25519-sha256",
    );
}

#[test]
fn ed25519_alone() {
    let mut pair =
        Setup::new("Domain a.example\nSelector e\nKeyFile {dir}/ed\nSignatureAlgorithm ed25519-sha256")
            .start();
    pair.case("an Ed25519 key when the algorithm says so").want("sign a.example/e a=ed25519-sha256");
}

#[test]
fn signers() {
    let senders = "anna@a.example one:anna@a.example\nbob@a.example one:@a.example\ncarl@a.example one:list@%\n\
                   dora@sub.a.example one:%@sub.a.example\neve@a.example one:x@c.example\n";
    let mut pair = tables("SigningTable {dir}/senders", senders).start();
    pair.case("i= as it stands").want("sign a.example/s1 i=anna@a.example");
    pair.case("a domain only").from("bob@a.example").want("sign a.example/s1 i=@a.example");
    pair.case("% is the sender's domain").from("carl@a.example").want("sign a.example/s1 i=list@a.example");
    pair.case("below d=").from("dora@sub.a.example").want("sign a.example/s1 i=sub.a.example@sub.a.example");
    pair.case("not below d=: left out").from("eve@a.example").want("sign a.example/s1");
}

#[test]
fn percent_signs() {
    let keys = "c.example %:%:{dir}/rsa\nd.example d.example:s:{dir}/%.key\ne.example %:s:{dir}/%.key\n";
    let conf = "KeyTable {dir}/keys\nSigningTable refile:{dir}/senders";
    let setup = Setup::new(conf).file("keys", keys).file("senders", "* %\n");
    let key = RSA.pem;
    let mut pair = setup.secret("d.example.key", key).secret("e.example.key", key).start();
    pair.case("in a path it is the signing domain").from("x@d.example").want("sign d.example/s");
    pair.case("which may be the sender's").from("x@E.example").want("sign e.example/s");
    pair.case("a domain whose name is no key").from("x@f.example").differs(
        "D25",
        "tempfail @N",
        "451 4.7.5 DKIM signing is not possible at the moment, try again later @N",
    );
}

#[test]
fn keys_in_the_table_itself() {
    let der: String = RSA.pem.lines().filter(|line| !line.starts_with('-')).collect();
    let conf = format!("KeyTable csl:one=a.example:s1:{der}\nSigningTable csl:a.example=one");
    let mut pair = Setup::new(&conf).start();
    pair.case("base64 in a list").want("sign a.example/s1");
}

#[test]
fn empty_tables() {
    let mut pair = Setup::new("KeyTable {dir}/keys\nSigningTable refile:{dir}/senders")
        .file("keys", "")
        .file("senders", "")
        .start();
    pair.case("empty tables sign nothing").untouched();
}

#[test]
fn entries_that_cannot_be_used() {
    let keys = "short a.example:s1\ngone a.example:s2:{dir}/gone\nbad a.example:s3:{dir}/bad\nwide a.example:s4:{dir}/wide\n";
    let senders =
        "a@a.example short\nb@a.example gone\nc@a.example bad\nd@a.example wide\ne@a.example unknown\n";
    let deferred = "451 4.7.5 DKIM signing is not possible at the moment, try again later @N";
    let conf = "KeyTable {dir}/keys\nSigningTable refile:{dir}/senders";
    let setup = Setup::new(conf)
        .ours("CheckSigningTable no")
        .file("keys", keys)
        .file("senders", senders)
        .secret("bad", "no key\n")
        .file("wide", RSA.pem);
    let mut pair = setup.start();
    for (why, from) in [
        ("too few fields in KeyTable", "a@a.example"),
        ("a key file that is not there", "b@a.example"),
        ("a key file that others may read", "d@a.example"),
        ("a key name that KeyTable does not have", "e@a.example"),
    ] {
        pair.case(why).from(from).differs("D25", "tempfail @N", deferred);
    }
    pair.case("a key file that holds no key").from("c@a.example").differs(
        "D26",
        "451 4.7.0 resource unavailable",
        "451 4.7.0 internal DKIM error @N",
    );
}

#[test]
fn long_lines() {
    let der: String = RSA.pem.lines().filter(|line| !line.starts_with('-')).collect();
    assert!(der.len() > 1023);
    let conf = "KeyTable {dir}/keys\nSigningTable csl:a.example=one";
    let mut pair = Setup::new(conf).file("keys", &format!("one a.example:s1:{der}\n")).start();
    pair.case("a key in a line of more than 1023 bytes").differs(
        "D14",
        "451 4.7.0 resource unavailable",
        "sign a.example/s1",
    );
}

#[test]
fn algorithms_in_the_key_table() {
    let conf = "KeyTable {dir}/keys\nSigningTable refile:{dir}/senders";
    let keys = "one a.example:s1:{dir}/ed:ed25519-sha256\ntwo a.example:s2:{dir}/rsa\n";
    let setup =
        Setup::new(conf).file("keys", keys).file("senders", "anna@a.example one\nbob@a.example one,two\n");
    let mut pair = setup.ours("SignatureAlgorithm rsa-sha256").start();
    pair.case("a fourth field names the algorithm").differs(
        "D19",
        "tempfail @N",
        "sign a.example/s1 a=ed25519-sha256",
    );
    pair.case("two keys in one line").from("bob@a.example").differs(
        "D19",
        "tempfail @N",
        "sign a.example/s1 a=ed25519-sha256, sign a.example/s2",
    );
}

#[test]
fn patterns_as_names_of_keys() {
    let conf = "KeyTable refile:{dir}/keys\nSigningTable refile:{dir}/senders";
    let setup =
        Setup::new(conf).file("keys", "*.a.example a.example:s1:{dir}/rsa\n").file("senders", "*@* %\n");
    let mut pair = setup.start();
    pair.case("KeyTable as refile:").from("x@sub.a.example").want("sign a.example/s1");
}

#[test]
fn percent_signs_in_paths() {
    let conf = "KeyTable {dir}/keys\nSigningTable refile:{dir}/senders";
    let setup = Setup::new(conf).file("keys", "any %:s:{dir}/keys.d/%\n").file("senders", "*@* any\n");
    let setup = setup.with(|scratch| std::fs::create_dir(scratch.file("keys.d")).unwrap());
    let mut pair = setup.secret("keys.d/a.example", RSA.pem).start();
    pair.case("a domain").want("sign a.example/s");
    pair.case("a path in place of a domain").from("x@../rsa").differs(
        "D29",
        "sign ../rsa/s",
        "AR mx.test.example: permerror",
    );
}
