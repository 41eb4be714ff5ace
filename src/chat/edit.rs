//! The least edit: what changes in a body on its way upstream, and nothing else.
//!
//! Three things may have to change: `model` becomes the provider's name for it; a stream is asked to report its
//! usage, without which nobody could say what it cost; and `metadata.pointsman_*`, which are wishes to the
//! router, are taken out. Every other byte goes as it came: key order, white space, escapes, numbers of any
//! length, keys that stand there twice.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::ChatRequest;
use super::parse::range_in;
use super::wire::{Object, Text};

/// Keys of `metadata` that are meant for the router.
const OURS: &str = "pointsman_";

/// One replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    /// These bytes of the body ...
    at: Range<usize>,
    /// ... become these.
    with: Cow<'static, str>,
    /// Whether this is what asks for the usage.
    usage: bool,
}

/// All replacements of a body, in order of place and without overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edits {
    /// The value of `model`, quotes included.
    model: Range<usize>,
    /// The others; they are the same for every deployment.
    fixed: Vec<Edit>,
}

impl Edits {
    pub(super) const fn of_model(model: Range<usize>) -> Self {
        Self { model, fixed: Vec::new() }
    }

    pub(super) fn push(&mut self, edit: Edit) {
        let place = self.fixed.partition_point(|other| other.at.start <= edit.at.start);
        self.fixed.insert(place, edit);
    }
}

impl ChatRequest {
    /// The body for a deployment that calls the model `upstream_model`: the same bytes, but for `model`, for
    /// `stream_options.include_usage` where a stream did not ask for it, and without `metadata.pointsman_*`.
    /// The very same buffer where nothing has to change.
    #[must_use]
    pub fn upstream_body(&self, upstream_model: &str) -> Bytes {
        self.edited(upstream_model, true)
    }

    /// The same for a deployment that does not know `stream_options`.
    #[must_use]
    pub fn upstream_body_without_usage(&self, upstream_model: &str) -> Bytes {
        self.edited(upstream_model, false)
    }

    fn edited(&self, upstream_model: &str, usage: bool) -> Bytes {
        let model = serde_json::Value::from(upstream_model).to_string();
        let place = &self.edits.model;
        let wanted = self.edits.fixed.iter().filter(|edit| usage || !edit.usage);
        let mut edits: Vec<(&Range<usize>, &str)> = wanted.map(|edit| (&edit.at, &*edit.with)).collect();
        if edits.is_empty() && self.body[place.clone()] == *model.as_bytes() {
            return self.body.clone();
        }
        // An insertion right after the model's value starts where that value ends, so it sorts behind it.
        edits.insert(edits.partition_point(|(at, _)| at.start < place.end), (place, &model));
        let grown: usize = edits.iter().map(|(_, with)| with.len()).sum();
        let mut edited = Vec::with_capacity(self.body.len() + grown);
        let mut done = 0;
        for (at, with) in edits {
            edited.extend_from_slice(&self.body[done..at.start]);
            edited.extend_from_slice(with.as_bytes());
            done = at.end;
        }
        edited.extend_from_slice(&self.body[done..]);
        edited.into()
    }
}

/// The edit that makes a stream report its usage. `options`: the value of `stream_options`; `include`: the value
/// of `include_usage` in it; `null` counts as absent for both.
pub(super) fn include_usage(body: &str, model: &Range<usize>, options: Option<&str>, include: Option<&str>) -> Edit {
    let (at, with) = match (options, include) {
        (_, Some(include)) => (range_in(body, include), "true"),
        (Some(options), None) => match null_member(options, "include_usage") {
            // `include_usage: null` may stand there; a second one behind it would be ambiguous.
            Some(null) => (range_in(body, null), "true"),
            None => {
                let start = range_in(body, options).start + 1;
                let empty = options[1..].trim_start().starts_with('}');
                (start..start, if empty { "\"include_usage\":true" } else { "\"include_usage\":true," })
            }
        },
        (None, None) => match null_member(body, "stream_options") {
            Some(null) => (range_in(body, null), "{\"include_usage\":true}"),
            None => (model.end..model.end, ",\"stream_options\":{\"include_usage\":true}"),
        },
    };
    Edit { at, with: with.into(), usage: true }
}

/// The value of this member of an object, if it is there; it is known to be `null` if it is.
fn null_member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    // A cheap look before the second reading of the whole body: the name is almost never there.
    if !object.contains(name) && !object.contains('\\') {
        return None;
    }
    let Object(Members(members)) = serde_json::from_str(object).ok()?;
    members.into_iter().find(|member| member.name() == name).map(|member| member.value.get())
}

/// Reads `metadata` (string values only) and adds the edit that takes the router's own keys out.
pub(super) fn metadata(
    body: &str,
    raw: &RawValue,
    edits: &mut Edits,
) -> Result<Vec<(String, String)>, serde_json::Error> {
    let Object(Members(members)) = serde_json::from_str::<Object<Members<'_>>>(raw.get())?;
    let text = |member: &Member<'_>| {
        let value = serde_json::from_str::<Text<'_>>(member.value.get()).ok()?;
        Some((member.name().into_owned(), value.0.into_owned()))
    };
    let view = members.iter().filter_map(text).collect();
    let (ours, theirs): (Vec<&Member<'_>>, Vec<_>) = members.iter().partition(|member| member.name().starts_with(OURS));
    if !ours.is_empty() {
        edits.push(if theirs.is_empty() {
            Edit { at: whole_member(body, raw.get())?, with: "".into(), usage: false }
        } else {
            let kept: Vec<String> =
                theirs.iter().map(|member| format!("{}:{}", member.key.get(), member.value.get())).collect();
            let with = format!("{{{}}}", kept.join(","));
            Edit { at: range_in(body, raw.get()), with: with.into(), usage: false }
        });
    }
    Ok(view)
}

/// The bytes of the body's member with this value: name, value and one comma. There is always another member,
/// because `model` is required.
fn whole_member(body: &str, value: &str) -> Result<Range<usize>, serde_json::Error> {
    let Object(Members(members)) = serde_json::from_str::<Object<Members<'_>>>(body)?;
    let value = range_in(body, value);
    let start_of = |member: &Member<'_>| range_in(body, member.key.get()).start;
    let mut before = None;
    let mut all = members.iter().peekable();
    while let Some(member) = all.next() {
        let here = range_in(body, member.value.get());
        if here == value {
            let next = all.peek().map_or(here.end, |next| start_of(next));
            return Ok(before.map_or(start_of(member)..next, |end| end..here.end));
        }
        before = Some(here.end);
    }
    Ok(value)
}

/// A name and a value of an object, as they were written.
struct Member<'a> {
    key: &'a RawValue,
    value: &'a RawValue,
}

impl<'a> Member<'a> {
    fn name(&self) -> Cow<'a, str> {
        serde_json::from_str::<Text<'a>>(self.key.get()).map_or(Cow::Borrowed(self.key.get()), |text| text.0)
    }
}

/// All members of an object, in order, names that come twice included.
struct Members<'a>(Vec<Member<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry()? {
                    members.push(Member { key, value });
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

/// Every member of an object, name and value as written; for tests.
#[cfg(test)]
pub(super) fn raw_members(object: &str) -> Result<Vec<(String, String)>, serde_json::Error> {
    let Object(Members(members)) = serde_json::from_str(object)?;
    Ok(members.into_iter().map(|member| (member.key.get().to_owned(), member.value.get().to_owned())).collect())
}
