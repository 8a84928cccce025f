//! Tests of the body and of MIME parts: body, mime, foreverypart, extracttext.

use super::case::{Case, agree};

const PARTS: &str = "From: a@x.example
To: bob@b.example
Subject: parts
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=\"b1\"

preamble
--b1
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

gr=FC=DFe =
needle
--b1
Content-Type: text/html

<p>Hello <b>html</b></p>
--b1
Content-Type: application/pdf; name=\"file.pdf\"
Content-Disposition: attachment; filename=\"file.pdf\"
Content-Transfer-Encoding: base64

aGF5c3RhY2s=
--b1--
";

#[test]
fn body() {
    agree(&[
        Case::new("text", "require [\"fileinto\",\"body\"]; if body :contains \"NEEDLE\" { fileinto \"a\"; } if body :text :contains \"absent\" { fileinto \"b\"; }"),
        Case::new("raw", "require [\"fileinto\",\"body\"]; if body :raw :contains \"needle\" { fileinto \"a\"; } if body :raw :contains \"hello\" { fileinto \"b\"; }"),
        Case::new("raw of parts", "require [\"fileinto\",\"body\"]; if body :raw :contains \"=FC\" { fileinto \"a\"; } if body :raw :contains \"preamble\" { fileinto \"b\"; }").over(PARTS),
        Case::new("decoded", "require [\"fileinto\",\"body\"]; if body :text :contains \"grüße needle\" { fileinto \"a\"; }").over(PARTS),
        Case::new("content", "require [\"fileinto\",\"body\"]; if body :content \"text\" :contains \"needle\" { fileinto \"a\"; } if body :content \"text/html\" :contains \"needle\" { fileinto \"b\"; } if body :content \"text/html\" :contains \"<b>\" { fileinto \"c\"; }").over(PARTS),
        Case::new("content of an attachment", "require [\"fileinto\",\"body\"]; if body :content \"application\" :contains \"haystack\" { fileinto \"a\"; }").over(PARTS),
        Case::new("text of html", "require [\"fileinto\",\"body\"]; if body :text :contains \"Hello html\" { fileinto \"a\"; }").over(PARTS),
        Case::new("matches", "require [\"fileinto\",\"body\"]; if body :matches \"*needle*lines*\" { fileinto \"a\"; }"),
        Case::new("regex", "require [\"fileinto\",\"body\",\"regex\"]; if body :regex \"[0-9]+ lines\" { fileinto \"a\"; }"),
    ]);
}

#[test]
fn mime() {
    agree(&[
        Case::new("type", "require [\"fileinto\",\"mime\"]; if header :mime :type \"content-type\" \"multipart\" { fileinto \"a\"; } if header :mime :subtype \"content-type\" \"mixed\" { fileinto \"b\"; } if header :mime :contenttype \"content-type\" \"multipart/mixed\" { fileinto \"c\"; }").over(PARTS),
        Case::new("anychild", "require [\"fileinto\",\"mime\"]; if header :mime :anychild :contenttype \"content-type\" \"text/html\" { fileinto \"a\"; } if header :mime :contenttype \"content-type\" \"text/html\" { fileinto \"b\"; }").over(PARTS),
        Case::new("param", "require [\"fileinto\",\"mime\"]; if header :mime :anychild :param \"filename\" :matches \"content-disposition\" \"*.pdf\" { fileinto \"a\"; }").over(PARTS),
        Case::new("exists", "require [\"fileinto\",\"mime\"]; if exists :mime :anychild \"content-disposition\" { fileinto \"a\"; } if exists :mime \"content-disposition\" { fileinto \"b\"; }").over(PARTS),
        Case::new("foreverypart", "require [\"fileinto\",\"mime\",\"foreverypart\"]; foreverypart { if header :mime :type \"content-type\" \"application\" { fileinto \"a\"; break; } }").over(PARTS),
        Case::new("named loops", "require [\"fileinto\",\"mime\",\"foreverypart\"]; foreverypart :name \"outer\" { foreverypart { if header :mime :type \"content-type\" \"text\" { fileinto \"t\"; break :name \"outer\"; } } } ").over(PARTS),
        Case::new("extracttext", "require [\"fileinto\",\"mime\",\"foreverypart\",\"variables\",\"extracttext\"]; foreverypart { if header :mime :contenttype \"content-type\" \"text/plain\" { extracttext :first 4 \"t\"; fileinto \"x${t}\"; } }").over(PARTS).differs("P5"),
        Case::new("extracttext of ASCII", "require [\"fileinto\",\"mime\",\"foreverypart\",\"variables\",\"extracttext\"]; foreverypart { if header :mime :contenttype \"content-type\" \"text/html\" { extracttext :first 8 \"t\"; fileinto \"x${t}\"; } }").over(PARTS),
        Case::new("extracttext with a modifier", "require [\"fileinto\",\"mime\",\"foreverypart\",\"variables\",\"extracttext\"]; foreverypart { if header :mime :contenttype \"content-type\" \"text/plain\" { extracttext :upper :first 2 \"t\"; fileinto \"x${t}\"; } }").over(PARTS),
    ]);
}
