//! The encoder.
use std::sync::{Arc, LazyLock};

use pointsman::embed::sources::{self, Files};
use pointsman::embed::{Config, Encoder, Form};

/// The real weights; fetched if this machine does not have them. A test that needs them fails without them.
static FILES: LazyLock<Files> = LazyLock::new(|| {
    sources::find(&Config::default(), &(Arc::new(|step: &_| println!("{step:?}")) as _))
        .unwrap_or_else(|e| panic!("{e}"))
});

#[test]
fn smoke() {
    let config = Config::default();
    let a = Encoder::of(&FILES, &config, Some(Form::Portable)).unwrap();
    let b = Encoder::of(&FILES, &config, Some(Form::Stock)).unwrap();
    for text in ["", "hello", "How do I sort a list in Python?"] {
        let (x, y) = (a.embed_batch(&[text]).unwrap(), b.embed_batch(&[text]).unwrap());
        let cosine: f32 = x[0].iter().zip(&y[0]).map(|(x, y)| x * y).sum();
        println!("{text:?} {cosine} {:?}", a.tokens(text).unwrap());
        assert!(cosine > 0.99999);
    }
}
