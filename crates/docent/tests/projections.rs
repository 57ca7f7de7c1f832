//! Dense layers between pooling and the embedding, against their definition in double precision.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use std::path::Path;

use docent::convert::OutputType;
use docent::{EmbedOptions, Embedder, Pooling, Prompt};
use serde_json::{Value, json};
use support::{bits, converted, copy_folder, fixture, open, reference};

/// A dense layer with weights from its place.
struct Dense {
    inputs: usize,
    outputs: usize,
    activation: &'static str,
    bias: bool,
}

impl Dense {
    fn weight(&self, output: usize, input: usize) -> f32 {
        ((output * 31 + input * 7) % 23) as f32 / 46.0 - 0.25
    }

    fn bias(&self, output: usize) -> f32 {
        if self.bias { (output % 5) as f32 / 10.0 - 0.2 } else { 0.0 }
    }

    fn of(&self, x: &[f64]) -> Vec<f64> {
        let activation = |x: f64| match self.activation {
            "activation.Tanh" => x.tanh(),
            "activation.ReLU" => x.max(0.0),
            _ => x,
        };
        let output = |output| {
            let products = x.iter().enumerate().map(|(input, x)| x * f64::from(self.weight(output, input)));
            activation(products.sum::<f64>() + f64::from(self.bias(output)))
        };
        (0..self.outputs).map(output).collect()
    }

    /// The folder of the module, as sentence-transformers writes it.
    fn save(&self, folder: &Path) {
        let &Dense { inputs, outputs, activation, bias } = self;
        std::fs::create_dir(folder).unwrap();
        let config = json!({"in_features": inputs, "out_features": outputs, "bias": bias, "activation_function": format!("torch.nn.modules.{activation}")});
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
        let places = (0..outputs).flat_map(|output| (0..inputs).map(move |input| (output, input)));
        let mut values: Vec<f32> = places.map(|(output, input)| self.weight(output, input)).collect();
        let weight = 4 * values.len();
        let mut header =
            json!({"linear.weight": {"dtype": "F32", "shape": [outputs, inputs], "data_offsets": [0, weight]}});
        if bias {
            values.extend((0..outputs).map(|output| self.bias(output)));
            header["linear.bias"] =
                json!({"dtype": "F32", "shape": [outputs], "data_offsets": [weight, weight + 4 * outputs]});
        }
        let header = header.to_string();
        let length = (header.len() as u64).to_le_bytes();
        let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        std::fs::write(folder.join("model.safetensors"), [&length[..], header.as_bytes(), &values].concat()).unwrap();
    }
}

/// bert-tiny with these modules after its pooling.
fn with_modules(modules: &[(&str, Option<&Dense>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&fixture("bert-tiny"), folder.path());
    let mut list = vec![json!({"path": "", "type": "Transformer"}), json!({"path": "1_Pooling", "type": "Pooling"})];
    for (number, (kind, dense)) in (2..).zip(modules) {
        let path = format!("{number}_{kind}");
        if let Some(dense) = dense {
            dense.save(&folder.path().join(&path));
        }
        list.push(json!({"path": path, "type": format!("sentence_transformers.models.{kind}")}));
    }
    std::fs::write(folder.path().join("modules.json"), Value::Array(list).to_string()).unwrap();
    folder
}

fn dense(inputs: usize, outputs: usize, activation: &'static str, bias: bool) -> Dense {
    Dense { inputs, outputs, activation, bias }
}

#[test]
fn embeddings_are_projected_as_the_modules_say() {
    let (identity, tanh, relu) = ("linear.Identity", "activation.Tanh", "activation.ReLU");
    for layers in [
        vec![dense(96, 40, identity, false)],
        vec![dense(96, 40, identity, true)],
        vec![dense(96, 96, tanh, true)],
        vec![dense(96, 64, relu, true), dense(64, 7, identity, false)],
        vec![dense(96, 33, tanh, false), dense(33, 50, relu, true), dense(50, 1, tanh, true)],
    ] {
        let modules: Vec<_> = layers.iter().map(|layer| ("Dense", Some(layer))).chain([("Normalize", None)]).collect();
        let folder = with_modules(&modules);
        let out = tempfile::tempdir().unwrap();
        let file = converted(folder.path(), OutputType::F32, out.path());
        let (directory, file) = (open(folder.path(), 2), open(&file, 1));
        let (prompt, pooling) = (Prompt::None, Some(Pooling::Mean));
        let options =
            EmbedOptions { normalize: false, prompt, pooling, max_length: Some(96), ..EmbedOptions::default() };
        let cases = reference("bert-tiny").cases;
        let cases: Vec<_> = cases.iter().filter(|case| case.prompt.is_none() && case.max_length == 96).collect();
        assert!(cases.len() > 3);
        for case in cases {
            let embed = |embedder: &Embedder| embedder.embed_with(&[&case.text], &options).unwrap().remove(0);
            let found = embed(&directory);
            assert_eq!(bits(&found), bits(&embed(&file)));
            let pooled: Vec<f64> = case.pooled.mean.iter().copied().map(f64::from).collect();
            let expected = layers.iter().fold(pooled, |x, layer| layer.of(&x));
            assert_eq!(found.dim(), expected.len());
            for (found, expected) in found.vector().iter().zip(&expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-4, "{found} for {expected}, {:?}", case.text);
            }
        }
    }
}

#[test]
fn modules_out_of_order_are_refused() {
    let layer = dense(96, 40, "linear.Identity", false);
    let folder = with_modules(&[("Normalize", None), ("Dense", Some(&layer))]);
    let error = Embedder::open(folder.path().to_str().unwrap()).unwrap_err().to_string();
    assert!(error.contains("expected layers between Pooling and Normalize"), "{error}");
}
