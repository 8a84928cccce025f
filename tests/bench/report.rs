//! The table: medians of several rounds side by side, with the bar that ours must stay below.

use serde_json::{Value, json};

use crate::measure::Case;

/// The runs of one case on both servers.
pub struct Row {
    /// What was measured.
    pub case: Case,
    /// milterload's figures on opendkim, one a round.
    pub theirs: Vec<Value>,
    /// The same on ours.
    pub ours: Vec<Value>,
}

/// Median, least and most of one figure over the rounds.
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    /// `None` when a run lacks the figure.
    pub fn of(runs: &[Value], figure: &str) -> Option<Self> {
        let mut values = runs.iter().map(|run| run[figure].as_f64()).collect::<Option<Vec<_>>>()?;
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, least, most })
    }

    /// "2.0 (1.0–3.0)".
    pub fn text(&self, decimals: usize) -> String {
        format!("{:.decimals$} ({:.decimals$}–{:.decimals$})", self.median, self.least, self.most)
    }
}

/// "0.24" and whether the bar holds; dashes without figures.
pub fn against(ours: Option<f64>, theirs: Option<f64>, bar: Option<f64>) -> (String, String) {
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return ("-".into(), "-".into()) };
    if theirs <= 0.0 {
        return ("-".into(), "-".into());
    }
    let ratio = ours / theirs;
    let verdict = match bar {
        None => String::new(),
        Some(bar) if ratio <= bar => format!("≤ {bar:.2} met"),
        Some(bar) => format!("≤ {bar:.2} MISSED"),
    };
    (format!("{ratio:.2}"), verdict)
}

/// Prints both tables.
pub fn print(rows: &[Row]) {
    println!("\nServer CPU for each message, ms: median (least–most)");
    println!("{:<46} {:>24} {:>24} {:>6}  bar", "", "opendkim", "postrider-milter", "ratio");
    for row in rows {
        let (theirs, ours) = (Spread::of(&row.theirs, "server_ms"), Spread::of(&row.ours, "server_ms"));
        let (ratio, verdict) =
            against(ours.as_ref().map(|s| s.median), theirs.as_ref().map(|s| s.median), row.case.bar);
        let text = |spread: Option<Spread>| spread.map_or_else(|| "-".into(), |spread| spread.text(3));
        println!("{:<46} {:>24} {:>24} {ratio:>6}  {verdict}", row.case.title(), text(theirs), text(ours));
    }
    println!("\nRate and latency: messages/s, p50 ms, p99 ms (medians)");
    println!("{:<46} {:>30} {:>30}", "", "opendkim", "postrider-milter");
    for row in rows {
        let cell = |runs: &[Value]| {
            let figure = |name| Spread::of(runs, name).map_or(f64::NAN, |spread| spread.median);
            format!("{:>8.0} {:>8.2} {:>8.2}", figure("per_second"), figure("p50_ms"), figure("p99_ms"))
        };
        println!("{:<46} {:>30} {:>30}", row.case.title(), cell(&row.theirs), cell(&row.ours));
    }
}

/// The same for machines, with every single run.
pub fn as_json(rows: &[Row]) -> Value {
    rows.iter()
        .map(|row| {
            let median = |runs: &[Value]| Spread::of(runs, "server_ms").map(|spread| spread.median);
            let (theirs, ours) = (median(&row.theirs), median(&row.ours));
            json!({
                "case": row.case.title(), "bytes": row.case.bytes, "connections": row.case.connections,
                "bar": row.case.bar, "opendkim_ms": theirs, "postrider_ms": ours,
                "ratio": ours.zip(theirs).map(|(ours, theirs)| ours / theirs),
                "opendkim": row.theirs, "postrider": row.ours,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_and_an_odd_number_of_rounds() {
        let runs = |values: &[f64]| values.iter().map(|v| json!({ "x": v })).collect::<Vec<_>>();
        assert_eq!(Spread::of(&runs(&[3.0, 1.0, 2.0]), "x").unwrap().text(1), "2.0 (1.0–3.0)");
        assert_eq!(Spread::of(&runs(&[4.0, 1.0]), "x").unwrap().text(1), "2.5 (1.0–4.0)");
        assert!(Spread::of(&runs(&[4.0]), "y").is_none());
        assert!(Spread::of(&[], "x").is_none());
    }

    #[test]
    fn the_bar_is_met_at_the_bar_and_missed_above_it() {
        let verdict = |ours| against(Some(ours), Some(2.0), Some(0.3)).1;
        assert_eq!(verdict(0.6), "≤ 0.30 met");
        assert_eq!(verdict(0.62), "≤ 0.30 MISSED");
        assert_eq!(against(None, Some(2.0), Some(0.3)).1, "-");
    }
}
