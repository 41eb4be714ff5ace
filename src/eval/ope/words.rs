//! Numbers and verdicts as people read them, on a terminal, in a card and on a page.

use super::bounds::Interval;
use super::findings::Figure;
use super::gate::{Refusal, Verdict};

/// A quality with its interval, which ends where quality does; `(?)` = how far off it may be is not known.
#[must_use]
pub fn figure(figure: Figure) -> String {
    match figure.interval {
        Some(Interval { lower, upper }) => {
            format!("{:.4} ({:.4} to {:.4})", figure.mean, lower.clamp(0.0, 1.0), upper.clamp(0.0, 1.0))
        }
        None => format!("{:.4} (?)", figure.mean),
    }
}

/// A difference with its interval.
#[must_use]
pub fn signed(figure: Figure) -> String {
    // What rounds to nothing has no sign.
    let more = |by: f64| format!("{:+.4}", if by.abs() < 5e-5 { 0.0 } else { by });
    match figure.interval {
        Some(Interval { lower, upper }) => format!("{} ({} to {})", more(figure.mean), more(lower), more(upper)),
        None => format!("{} (?)", more(figure.mean)),
    }
}

/// What is paid, with its interval: never below nothing, whatever the interval says.
#[must_use]
pub fn dollars(figure: Figure) -> String {
    let paid = |sum: f64| format!("${:.6}", sum.max(0.0));
    match figure.interval {
        Some(Interval { lower, upper }) => format!("{} ({} to {})", paid(figure.mean), paid(lower), paid(upper)),
        None => format!("{} (?)", paid(figure.mean)),
    }
}

/// By how many dollars more, with its interval.
#[must_use]
pub fn dearer(figure: Figure) -> String {
    let more = |sum: f64| format!("{}${:.6}", if sum < -5e-7 { '-' } else { '+' }, sum.abs());
    match figure.interval {
        Some(Interval { lower, upper }) => format!("{} ({} to {})", more(figure.mean), more(lower), more(upper)),
        None => format!("{} (?)", more(figure.mean)),
    }
}

/// What is said of a number, or `?` where there is none.
#[must_use]
pub fn or_unknown(value: Option<Figure>, words: fn(Figure) -> String) -> String {
    value.map_or_else(|| "?".to_owned(), words)
}

/// What is not known of these deployments, and what to do about it; `None` for none.
#[must_use]
pub fn unpriced(deployments: &[String]) -> Option<String> {
    (!deployments.is_empty()).then(|| {
        format!(
            "the configuration has no price of {}: what they would cost is told from their logged answers alone, and \
             no weight of cost moves them; --config names the one that lists them",
            deployments.join(", ")
        )
    })
}

/// A count with its thousands apart: 12,345.
#[must_use]
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let first = digits.len() % 3;
    let (head, tail) = digits.split_at(first);
    let tail = tail.as_bytes().chunks(3).map(|three| three.iter().map(|digit| char::from(*digit)).collect::<String>());
    Some(head.to_owned()).filter(|head| !head.is_empty()).into_iter().chain(tail).collect::<Vec<_>>().join(",")
}

/// Parts of the traffic that are named when they get worse; the rest are counted.
const NAMED: usize = 3;

/// The reasons in words, of the parts of the traffic that get worse the worst ones only.
fn reasons(refusals: &[Refusal]) -> Vec<String> {
    let worst = |refusal: &&Refusal| matches!(refusal, Refusal::Segment { .. });
    let (mut parts, others): (Vec<&Refusal>, Vec<&Refusal>) = refusals.iter().partition(worst);
    let upper = |refusal: &Refusal| match refusal {
        Refusal::Segment { upper, .. } => *upper,
        _ => 0.0,
    };
    parts.sort_by(|a, b| upper(a).total_cmp(&upper(b)));
    let mut words: Vec<String> = others.iter().chain(parts.iter().take(NAMED)).map(ToString::to_string).collect();
    match parts.len().saturating_sub(NAMED) {
        0 => {}
        1 => words.push("so does one other part of the traffic".to_owned()),
        more => words.push(format!("so do {more} other parts of the traffic")),
    }
    words
}

/// The verdict's name, its reasons, and how many more events it takes.
pub(super) fn in_words(verdict: &Verdict) -> (&'static str, Vec<String>, Option<u64>) {
    match verdict {
        Verdict::Promote { after } => {
            ("promote", vec![format!("it is better, which was certain after {} events", grouped(*after))], None)
        }
        Verdict::Keep(reasons) => ("keep", self::reasons(reasons), None),
        Verdict::More { events: Some(events) } => (
            "more",
            vec![format!("not certain yet: about {} more judged events like these are needed", grouped(*events))],
            Some(*events),
        ),
        Verdict::More { events: None } => ("keep", vec!["nothing points to a gain".to_owned()], None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1_000, 45_958, 1_234_567].map(grouped), ["0", "999", "1,000", "45,958", "1,234,567"]);
    }

    #[test]
    fn of_many_parts_that_get_worse_the_worst_are_named_and_the_rest_counted() {
        let part = |n: u32| Refusal::Segment {
            segment: format!("intent {n}"),
            upper: -0.03 - f64::from(n) / 100.0,
            allowed: -0.02,
        };
        let refusals: Vec<Refusal> = (0..5).map(part).chain([Refusal::Spend { times: 1.3, allowed: 1.1 }]).collect();
        insta::assert_snapshot!(reasons(&refusals).join("\n"), @r"
        it would cost 1.30 times what is spent now; allowed is 1.10
        intent 4 gets worse: at best -0.0700, allowed -0.0200
        intent 3 gets worse: at best -0.0600, allowed -0.0200
        intent 2 gets worse: at best -0.0500, allowed -0.0200
        so do 2 other parts of the traffic
        ");
    }

    #[test]
    fn what_is_paid_is_never_less_than_nothing_and_a_difference_may_be() {
        let interval = Some(Interval { lower: -0.001, upper: 0.003 });
        let about = Figure { mean: 0.001, interval };
        assert_eq!(dollars(about), "$0.001000 ($0.000000 to $0.003000)");
        assert_eq!(dearer(Figure { mean: -0.002, interval: None }), "-$0.002000 (?)");
        assert_eq!(signed(Figure { mean: -1e-9, ..about }), "+0.0000 (-0.0010 to +0.0030)");
        assert_eq!(
            figure(Figure { mean: 0.9, interval: Some(Interval { lower: 0.7, upper: 1.1 }) }),
            "0.9000 (0.7000 to 1.0000)"
        );
    }
}
