//! Rotary positions, as settings describe them.

use std::f64::consts::TAU;

use docent_kernels::{Frequencies, Rotary, RotaryStyle, Yarn};

use crate::Error;
use crate::settings::{HfConfig, Settings, Translation, Unwritten};

/// The base of the angles; 10000, as the paper has it, unless the settings say otherwise.
pub(crate) fn base(settings: &Settings<'_>, key: &str) -> Result<f64, Error> {
    let base = settings.float(key)?.unwrap_or(10_000.0);
    if base.is_finite() && base > 1.0 {
        return Ok(base);
    }
    Err(settings.error(key, "a number above 1", base))
}

/// The angles of `dims` columns, stretched as the settings say.
pub(crate) fn frequencies(settings: &Settings<'_>, dims: usize, base: f64) -> Result<Frequencies, Error> {
    let plain = Frequencies::new(dims, base);
    let key = "rope.scaling.factor";
    let factor = match settings.float(key)? {
        Some(factor) => Some(factor),
        None => settings.float("rope.scale_linear")?,
    };
    // Zero and absent mean no scaling.
    let factor = factor.filter(|&factor| factor != 0.0).unwrap_or(1.0);
    if !factor.is_finite() || factor < 0.0 {
        return Err(settings.error(key, "a number above 0", factor));
    }
    if let Some(llama3) = Llama3::read(settings)? {
        return Ok(llama3.stretch(plain));
    }
    let key = "rope.scaling.type";
    match settings.text(key)?.unwrap_or("linear") {
        "none" => Ok(plain),
        "linear" => Ok(plain.divided_by(factor)),
        "yarn" => {
            let original = settings.optional_size("rope.scaling.original_context_length")?;
            let original_positions = match original {
                Some(original) => original,
                None => settings.size("context_length")?,
            };
            if original_positions == 0 {
                return Err(settings.error("rope.scaling.original_context_length", "at least 1", 0));
            }
            let number = |key: &str, default: f64| settings.float(key).map(|value| value.unwrap_or(default));
            let fast = number("rope.scaling.yarn_beta_fast", 32.0)?;
            let slow = number("rope.scaling.yarn_beta_slow", 1.0)?;
            let magnitude = settings.float("rope.scaling.attn_factor")?.map(|scale| scale * (0.1 * factor.ln() + 1.0));
            Ok(plain.yarn(base, &Yarn { factor, original_positions, fast, slow, magnitude }))
        }
        found => Err(settings.error(key, "none, linear or yarn", format!("{found:?}"))),
    }
}

/// The turns of heads of `head_dim` columns, for `positions` positions.
pub(crate) fn rotary(
    settings: &Settings<'_>,
    style: RotaryStyle,
    head_dim: usize,
    frequencies: &Frequencies,
    positions: usize,
) -> Result<Rotary, Error> {
    Rotary::new(style, head_dim, frequencies, positions)
        .map_err(|error| settings.error("rope.dimension_count", "columns of a head that can be turned", error))
}

/// The rotary settings of a config.json: base and scaling. The base is in the first of several fields that is there, or else the
/// default.
pub(crate) fn translate(to: &mut Translation<'_>, bases: &[&'static str], default: f64) -> Result<(), Error> {
    // Since version 5 transformers keeps both in one object.
    let parameters = to.config.object("rope_parameters")?;
    let scaling = match &parameters {
        Some(_) => parameters,
        None => to.config.object("rope_scaling")?,
    };
    let of_parameters = parameters.map_or(Ok(None), |parameters| parameters.float(&["rope_theta"]))?;
    match (to.config.float(bases)?, of_parameters) {
        (None, Some(base)) => to.set_float("rope.freq_base", "rope_parameters.rope_theta", base),
        _ => {
            to.float_or("rope.freq_base", bases, default)?;
        }
    }
    let Some(scaling) = scaling else { return Ok(()) };
    match scaling.string(&["rope_type", "type"])?.unwrap_or("default") {
        "default" => {}
        kind @ ("linear" | "yarn") => {
            let factor = scaling.float(&["factor"])?;
            let factor = factor.ok_or_else(|| scaling.error("rope_scaling.factor", "a number", "nothing"))?;
            to.set_text("rope.scaling.type", "rope_scaling.rope_type", kind);
            to.set_float("rope.scaling.factor", "rope_scaling.factor", factor);
            if kind == "yarn" {
                translate_yarn(&scaling, factor, to)?;
            }
            if let Some(original) = scaling.optional_size(&["original_max_position_embeddings"])? {
                let field = "rope_scaling.original_max_position_embeddings";
                to.set_size("rope.scaling.original_context_length", field, original)?;
            }
        }
        "llama3" => Llama3::translate(&scaling, to)?,
        found => {
            return Err(scaling.error(
                "rope_scaling.rope_type",
                "default, linear, yarn or llama3",
                format!("{found:?}"),
            ));
        }
    }
    Ok(())
}

/// The bases of layers that attend to all and of those that attend in a window, for which transformers has had an object each since version 5.
/// `stretched` says whether positions may be stretched in the former.
pub(crate) fn translate_kinds(to: &mut Translation<'_>, stretched: bool) -> Result<(), Error> {
    let Some(parameters) = to.config.object("rope_parameters")? else { return Ok(()) };
    let kinds = [("rope.freq_base", "full_attention"), ("rope.freq_base_swa", "sliding_attention")];
    for (key, kind) in kinds {
        let Some(kind) = parameters.object(kind)? else { continue };
        let field = "rope_parameters.rope_type";
        match kind.string(&["rope_type", "type"])? {
            Some("linear") if stretched && key == "rope.freq_base" => translate_linear(to, &kind, field)?,
            None | Some("default") => {}
            Some(found) => return Err(kind.error(field, "\"default\"", format!("{found:?}"))),
        }
        if let Some(base) = kind.float(&["rope_theta"])? {
            to.set_float(key, "rope_parameters.rope_theta", base);
        }
    }
    Ok(())
}

/// Positions that are divided by a factor, or left as they are; `field` names the kind of scaling.
pub(crate) fn translate_linear(
    to: &mut Translation<'_>,
    scaling: &HfConfig<'_>,
    field: &'static str,
) -> Result<(), Error> {
    match scaling.string(&["rope_type", "type"])?.unwrap_or("default") {
        "default" => {}
        "linear" => {
            let factor = scaling.float(&["factor"])?;
            let factor = factor.ok_or_else(|| scaling.error("rope_scaling.factor", "a number", "nothing"))?;
            to.set_text("rope.scaling.type", field, "linear");
            to.set_float("rope.scaling.factor", "rope_scaling.factor", factor);
        }
        found => return Err(scaling.error(field, "\"default\" or \"linear\"", format!("{found:?}"))),
    }
    Ok(())
}

/// By how much each of the pairs of `dims` columns turns slower than `base` says, which GGUF carries as the tensor
/// `rope_freqs.weight`; `None` if none does, or keys say it.
pub(crate) fn factors(settings: &Settings<'_>, dims: usize, base: f64) -> Result<Option<Vec<f32>>, Error> {
    let Some(llama3) = Llama3::read(settings)? else { return Ok(None) };
    let plain = Frequencies::new(dims, base);
    let stretched = llama3.stretch(plain.clone());
    Ok(Some(plain.angles().iter().zip(stretched.angles()).map(|(plain, slow)| (plain / slow) as f32).collect()))
}

/// What a config.json says about `YaRN` beyond the factor. GGUF counts the magnitude relative to the paper's `0.1 ln(factor) + 1`.
fn translate_yarn(scaling: &HfConfig<'_>, factor: f64, to: &mut Translation<'_>) -> Result<(), Error> {
    for (key, field, name) in [
        ("rope.scaling.yarn_beta_fast", "beta_fast", "rope_scaling.beta_fast"),
        ("rope.scaling.yarn_beta_slow", "beta_slow", "rope_scaling.beta_slow"),
    ] {
        if let Some(value) = scaling.float(&[field])? {
            to.set_float(key, name, value);
        }
    }
    let magnitude = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
    let number = |field: &str| Ok::<_, Error>(scaling.float(&[field])?.filter(|&value| value != 0.0));
    let found = match (number("attention_factor")?, number("mscale")?, number("mscale_all_dim")?) {
        (Some(given), ..) => Some(given),
        (None, Some(scale), Some(of_all)) => Some(magnitude(scale) / magnitude(of_all)),
        (None, ..) => None,
    };
    if let Some(found) = found {
        to.set_float("rope.scaling.attn_factor", "rope_scaling.attention_factor", found / magnitude(1.0));
    }
    Ok(())
}

/// How Llama 3.1 stretches its angles: pairs that turn fast stay, slow ones turn slower by a factor, those between by part of it.
///
/// GGUF carries the result, one factor for each pair, as the tensor `rope_freqs.weight`; these keys are only found in what a
/// config.json was translated to.
struct Llama3 {
    factor: f64,
    low: f64,
    high: f64,
    original_positions: f64,
}

impl Llama3 {
    /// Key, field of `rope_scaling`, and the name of both together for messages.
    const FIELDS: [(&str, &str, &str); 4] = [
        ("rope.llama3.factor", "factor", "rope_scaling.factor"),
        ("rope.llama3.low_freq_factor", "low_freq_factor", "rope_scaling.low_freq_factor"),
        ("rope.llama3.high_freq_factor", "high_freq_factor", "rope_scaling.high_freq_factor"),
        (
            "rope.llama3.original_context_length",
            "original_max_position_embeddings",
            "rope_scaling.original_max_position_embeddings",
        ),
    ];

    fn translate(scaling: &HfConfig<'_>, to: &mut Translation<'_>) -> Result<(), Error> {
        for (key, field, name) in Self::FIELDS {
            let value = scaling.float(&[field])?.filter(|&value| value > 0.0);
            let value = value.ok_or_else(|| scaling.error(name, "a number above 0", "nothing of the kind"))?;
            to.set_float(key, name, value);
            to.leave_unwritten(key, Unwritten::Implied);
        }
        Ok(())
    }

    fn read(settings: &Settings<'_>) -> Result<Option<Self>, Error> {
        let mut values = [0.0; 4];
        for (value, (key, ..)) in values.iter_mut().zip(Self::FIELDS) {
            match settings.float(key)? {
                Some(found) => *value = found,
                None => return Ok(None),
            }
        }
        let [factor, low, high, original_positions] = values;
        if low >= high {
            return Err(settings.error(Self::FIELDS[1].0, format!("a number below {high}"), low));
        }
        Ok(Some(Llama3 { factor, low, high, original_positions }))
    }

    fn stretch(&self, plain: Frequencies) -> Frequencies {
        let stretch = |&angle: &f64| {
            let turns = self.original_positions * angle / TAU;
            let kept = ((turns - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
            angle * (kept + (1.0 - kept) / self.factor)
        };
        Frequencies::of(plain.angles().iter().map(stretch).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;
    use crate::settings::Translated;

    fn frequencies_of(scaling: &Value) -> Frequencies {
        let config = json!({"rope_theta": 1e4, "rope_scaling": scaling});
        let path = Path::new("config.json");
        let fields = config.as_object().unwrap();
        let mut to = Translation::new(HfConfig { path, fields }, "qwen3");
        to.set_size("context_length", "max_position_embeddings", 4096).unwrap();
        translate(&mut to, &["rope_theta"], 1e4).unwrap();
        let translated = Translated::new(to).unwrap();
        frequencies(&translated.settings(path, "qwen3"), 64, 1e4).unwrap()
    }

    /// `_compute_yarn_parameters` of transformers 4.57.
    #[test]
    fn yarn_is_read_with_all_its_settings() {
        let yarn = |more: Value| {
            let mut scaling = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024});
            scaling.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            frequencies_of(&scaling)
        };
        let magnitude = |more: Value| yarn(more).magnitude();
        let paper = |scale: f64| 0.1 * scale * 4f64.ln() + 1.0;
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(near(magnitude(json!({})), paper(1.0)));
        assert!(near(magnitude(json!({"attention_factor": 1.5})), 1.5));
        assert!(near(magnitude(json!({"mscale": 1.0, "mscale_all_dim": 0.8})), paper(1.0) / paper(0.8)));
        assert!(near(magnitude(json!({"mscale": 0.7})), paper(1.0)));
        // With other bounds other pairs are stretched.
        let plain = yarn(json!({}));
        assert_ne!(yarn(json!({"beta_fast": 8.0})).angles(), plain.angles());
        assert_ne!(yarn(json!({"beta_slow": 2.0})).angles(), plain.angles());
    }
}
