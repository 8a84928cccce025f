//! The dialogues. What Dovecot answers was observed with 2.3.19; the numbers are those of the document.

use crate::dialogue::check;

#[test]
fn commands() {
    check(
        "C: LHLO c.example
        L1 O: 250 SMTPUTF8
        L1 D: 250 PIPELINING
        C: NOOP
        S: 250 2.0.0
        C: noop hello
        S: 250 2.0.0
        C: VRFY anna
        S: 252 2.3.3
        C: VRFY
        S: 501 5.5.4
        C: EXPN x
        S: 500 5.5.1
        C: HELO x
        S: 500 5.5.1
        C: EHLO x
        S: 500 5.5.1
        C: AUTH PLAIN
        L2 O: 500 5.5.1
        L2 D: 502 5.5.1
        C: LHLO
        L3 O: 501 5.5.4
        L3 D: 501 Missing hostname
        C: RSET x
        S: 501 5.5.4
        C: RSET
        S: 250 2.0.0
        C: QUIT x
        S: 501 5.5.4
        C: QUIT
        S: 221 2.0.0
        S: EOF",
    );
}

#[test]
fn lines() {
    check(
        r"R: NOOP\n
        S: 250 2.0.0
        R: NOOP \r\n
        S: 250 2.0.0
        R: \r\n
        S: 500 5.5.1
        C:  NOOP
        S: 500 5.5.1
        R: NOOP\rX\r\n
        S: 500 5.5.2
        R: NOOP \x\r\n
        S: 500 5.5.2
        C: MAIL  FROM:<>
        S: 500 5.5.2
        C: LHLO a b
        L1 O: 250 SMTPUTF8
        L1 D: 250 PIPELINING",
    );
}

#[test]
fn long_lines() {
    let long = |length: usize| format!("C: NOOP {}\n", "x".repeat(length));
    check(&format!("{}S: 250 2.0.0\n{}S: 500 5.5.2\nC: NOOP\nS: 250 2.0.0\n", long(4080), long(9000)));
}

#[test]
fn too_many_mistakes() {
    let ten = "C: FOO\nS: 500 5.5.1\n".repeat(10);
    check(&format!("{ten}C: FOO\nS: 421 4.7.0 mx.a.example Too many invalid commands.\nS: EOF\n"));
}

#[test]
fn order() {
    check(
        "C: DATA
        S: 503 5.5.0
        C: RCPT TO:<anna>
        S: 503 5.5.0
        C: MAIL FROM:<x@y>
        S: 250 2.1.0
        C: MAIL FROM:<x@y>
        S: 503 5.5.0
        C: DATA
        S: 503 5.5.0
        C: RCPT TO:<nosuch>
        S: 550 5.1.1 <nosuch> User doesn't exist: nosuch
        C: DATA
        S: 503 5.5.0
        C: LHLO c
        L1 O: 250 SMTPUTF8
        L1 D: 250 PIPELINING
        C: DATA
        S: 503 5.5.0",
    );
}

#[test]
fn senders() {
    let cases = [
        ("<>", "S: 250 2.1.0"),
        ("<x@y>", "S: 250 2.1.0"),
        ("<x>", "S: 250 2.1.0"),
        ("<x@>", "S: 250 2.1.0"),
        ("<\".x y\"@a.example>", "S: 250 2.1.0"),
        ("<x@a_b.example>", "S: 250 2.1.0"),
        ("<x@-a.example>", "S: 250 2.1.0"),
        ("<@a,@b:x@y>", "S: 250 2.1.0"),
        ("x@y", "S: 501 5.5.4"),
        (" <x@y>", "S: 501 5.5.4"),
        ("<x@y", "S: 501 5.5.4"),
        ("<x y@a.example>", "S: 501 5.5.4"),
        ("<>x", "S: 501 5.5.4"),
        ("<> BODY=8BITMIME", "S: 250 2.1.0"),
        ("<> body=7bit", "S: 250 2.1.0"),
        ("<> BODY=BINARYMIME", "S: 555 5.5.4"),
        ("<> BODY", "S: 501 5.5.4"),
        ("<> BODY=7BIT BODY=7BIT", "S: 501 5.5.4"),
        ("<> =x", "S: 501 5.5.4"),
        ("<>  X", "S: 501 5.5.4"),
        ("<> FOO=BAR", "S: 555 5.5.4"),
        ("<> RET=HDRS", "S: 555 5.5.4"),
        ("<> SIZE=100", "L1 O: 250 2.1.0\nL1 D: 555 5.5.4"),
        ("<> SMTPUTF8", "L1 O: 250 2.1.0\nL1 D: 555 5.5.4"),
        ("<zo\u{eb}@x.example>", "S: 250 2.1.0"),
    ];
    for half in cases.chunks(9) {
        let text: String = half
            .iter()
            .map(|(path, answer)| format!("C: MAIL FROM:{path}\n{answer}\nC: RSET\nS: 250 2.0.0\n"))
            .collect();
        check(&text);
    }
}

#[test]
fn recipients() {
    let cases = [
        ("<anna>", "S: 250 2.1.5"),
        ("<ANNA>", "S: 250 2.1.5"),
        ("<anna+x>", "S: 250 2.1.5"),
        ("<anna@a.example>", "S: 550 5.1.1 <anna@a.example> User doesn't exist: anna@a.example"),
        ("<nosuch+x@y>", "S: 550 5.1.1 <nosuch+x@y> User doesn't exist: nosuch@y"),
        ("<CARL+Foo@A.Example>", "S: 250 2.1.5"),
        ("<@x,@y:carl@a.example>", "S: 250 2.1.5"),
        ("<\"carl\"@a.example>", "S: 250 2.1.5"),
        ("<\"an na\">", "S: 550 5.1.1 <\"an na\"> User doesn't exist: an na"),
        ("<.anna@x>", "S: 550 5.1.1 <\".anna\"@x> User doesn't exist: .anna@x"),
        ("<anna@[1.2.3.4]>", "S: 550 5.1.1"),
        ("anna", "S: 501 5.5.4"),
        (" <anna>", "S: 501 5.5.4"),
        ("<>", "S: 501 5.5.4"),
        ("<anna@>", "S: 501 5.5.4"),
        ("<anna@a..example>", "S: 501 5.5.4"),
        ("<a b@c>", "S: 501 5.5.4"),
        ("<anna> NOTIFY=NEVER", "S: 555 5.5.4"),
        ("<zo\u{eb}@x.example>", "L4 O: 553 5.6.7\nL4 D: 501 5.5.4"),
    ];
    for half in cases.chunks(7) {
        let lines: String =
            half.iter().map(|(path, answer)| format!("C: RCPT TO:{path}\n{answer}\n")).collect();
        check(&format!("C: MAIL FROM:<>\nS: 250 2.1.0\n{lines}"));
    }
}

#[test]
fn chunks() {
    check(
        r"C: MAIL FROM:<x@y>
        S: 250 2.1.0
        C: RCPT TO:<anna>
        S: 250 2.1.5
        C: RCPT TO:<bob>
        S: 250 2.1.5
        C: BDAT 5
        R: abc\r\n
        S: 250 2.0.0
        C: BDAT 3 LAST
        R: de\n
        S: 250 2.0.0 <anna>
        S: 250 2.0.0 <bob>
        C: BDAT 6
        R: QUIT\r\n
        S: 503 5.5.0
        C: NOOP
        S: 250 2.0.0",
    );
}

#[test]
fn chunks_that_cannot_be_read() {
    check(
        "C: MAIL FROM:<x@y>
        S: 250 2.1.0
        C: RCPT TO:<anna>
        S: 250 2.1.5
        C: BDAT x
        S: 501 5.5.4
        C: NOOP
        L5 O: EOF
        L5 D: 250 2.0.0",
    );
}

#[test]
fn a_last_chunk_for_nobody() {
    check(
        r"C: MAIL FROM:<x@y>
        S: 250 2.1.0
        C: BDAT 0 LAST
        S: 503 5.5.0
        C: RCPT TO:<anna>
        S: 250 2.1.5
        C: DATA
        L6 O: 354
        L6 D: 503 5.5.0
        R: x\r\n.\r\n
        L6 O: 250 2.0.0 <anna>
        L6 D: 500 5.5.1
        L6 D: 500 5.5.2",
    );
}

#[test]
fn line_ends_in_data() {
    check(
        r"C: MAIL FROM:<x@y>
        S: 250 2.1.0
        C: RCPT TO:<anna>
        S: 250 2.1.5
        C: DATA
        S: 354
        R: Subject: x\n\nfoo\n.\nNOOP\nNOOP\r\n.\r\n
        S: 250 2.0.0 <anna>
        L7 D: 250 2.0.0 OK
        L7 D: 250 2.0.0 OK
        L7 D: 500 5.5.2
        C: QUIT
        S: 221",
    );
}

#[test]
fn one_answer_for_each_recipient() {
    check(
        r"C: MAIL FROM:<x@y>
        S: 250 2.1.0
        C: RCPT TO:<anna>
        S: 250 2.1.5
        C: RCPT TO:<nosuch>
        S: 550 5.1.1
        C: RCPT TO:<anna>
        S: 250 2.1.5
        C: RCPT TO:<anna+x>
        S: 250 2.1.5
        C: RCPT TO:<bob>
        S: 250 2.1.5
        C: DATA
        S: 354
        R: Subject: x\r\n\r\nbody\r\n.\r\n
        S: 250 2.0.0 <anna>
        S: 250 2.0.0 <anna>
        S: 250 2.0.0 <anna+x>
        S: 250 2.0.0 <bob>",
    );
}
