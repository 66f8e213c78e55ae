//! Named arrays of f32 as safetensors bytes, the weight format of the field.

use std::collections::BTreeSet;
use std::fmt;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::cell::{from_blob, to_blob};
use crate::error::{Result, StoreError};

/// Name, shape, and numbers in row-major order.
pub type Tensor = (String, Vec<usize>, Vec<f32>);

/// The bytes of a safetensors file. Order does not matter: the format sorts by name.
pub fn tensors_to_bytes(tensors: &[Tensor]) -> Result<Vec<u8>> {
    let mut names = BTreeSet::new();
    let blobs: Vec<Vec<u8>> = tensors.iter().map(|(_, _, numbers)| to_blob(numbers)).collect();
    let mut views = Vec::with_capacity(tensors.len());
    for ((name, shape, _), blob) in tensors.iter().zip(&blobs) {
        if !names.insert(name) || name == METADATA {
            return Err(wrong(format!("`{name}`: the name is taken")));
        }
        let view = TensorView::new(Dtype::F32, shape.clone(), blob)
            .map_err(|error| wrong(format!("`{name}` of shape {shape:?}: {error}")))?;
        views.push((name.as_str(), view));
    }
    // Other tools refuse files that do not say which framework laid them out.
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize(views, Some(metadata)).map_err(|error| wrong(error.to_string()))
}

/// The tensors of a safetensors file, by name. Refuses names that come twice, other types than f32
/// and numbers that are not finite.
pub fn tensors_from_bytes(bytes: &[u8]) -> Result<Vec<Tensor>> {
    refuse_duplicates(bytes)?;
    let file = SafeTensors::deserialize(bytes).map_err(|error| wrong(error.to_string()))?;
    let mut tensors = Vec::with_capacity(file.len());
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(wrong(format!("`{name}`: got type {:?}, expected F32", view.dtype())));
        }
        let numbers: Vec<f32> =
            from_blob(view.data()).expect("the file's header gives f32 whole numbers of bytes");
        if let Some((i, number)) = numbers.iter().enumerate().find(|(_, x)| !x.is_finite()) {
            return Err(wrong(format!(
                "`{name}`: element {i} is {number}, expected finite numbers"
            )));
        }
        tensors.push((name, view.shape().to_vec(), numbers));
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(tensors)
}

const METADATA: &str = "__metadata__";

fn wrong(what: String) -> StoreError {
    StoreError::Tensor { what }
}

/// JSON readers keep the last of two equal keys; which one was meant nobody knows.
fn refuse_duplicates(bytes: &[u8]) -> Result<()> {
    let length = bytes.first_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word));
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(8));
    let header = end.and_then(|end| bytes.get(8..end));
    let header = header.ok_or_else(|| wrong("the header is cut off".to_owned()))?;
    serde_json::from_slice(header)
        .map(|UniqueKeys| ())
        .map_err(|error| wrong(format!("header: {error}")))
}

/// Reads a JSON object for its keys only.
struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueKeys)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = UniqueKeys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self, A::Error> {
        let mut seen = BTreeSet::new();
        while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
            if let Some(name) = seen.replace(name) {
                return Err(serde::de::Error::custom(format!("`{name}` comes twice")));
            }
        }
        Ok(UniqueKeys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize], numbers: &[f32]) -> Tensor {
        (name.to_owned(), shape.to_vec(), numbers.to_vec())
    }

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    #[test]
    fn tensors_return_by_name_and_order_does_not_matter() {
        let a = tensor("layer.1", &[2, 2], &[1.0, -0.0, 1e-40, f32::MAX]);
        let b = tensor("empty", &[0, 3], &[]);
        let c = tensor("scalar", &[], &[3.0]);
        let bytes = tensors_to_bytes(&[a.clone(), b.clone(), c.clone()]).unwrap();
        assert_eq!(bytes, tensors_to_bytes(&[c.clone(), a.clone(), b.clone()]).unwrap());
        let back = tensors_from_bytes(&bytes).unwrap();
        assert_eq!(back[1].2[1].to_bits(), (-0.0f32).to_bits());
        assert_eq!(back, [b, a, c]);
    }

    #[test]
    fn what_is_no_tensor_file_is_named() {
        let one = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
        let half = r#"{"dtype":"F16","shape":[2],"data_offsets":[0,4]}"#;
        let nan = f32::NAN.to_le_bytes();
        for (bytes, expected) in [
            (vec![], "the header is cut off"),
            (vec![255; 9], "the header is cut off"),
            (file("[]", &[]), "header: invalid type: sequence, expected tensors by name"),
            (file(&format!("{{\"w\":{one},\"w\":{one}}}"), &[0; 4]), "header: `w` comes twice"),
            (file(&format!("{{\"w\":{half}}}"), &[0; 4]), "`w`: got type F16, expected F32"),
            (file(&format!("{{\"w\":{one}}}"), &nan), "`w`: element 0 is NaN, expected finite"),
        ] {
            let error = tensors_from_bytes(&bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "got: {error}\nexpected: {expected}");
        }
        let twice = [tensor("w", &[1], &[0.0]), tensor("w", &[1], &[1.0])];
        let error = tensors_to_bytes(&twice).unwrap_err().to_string();
        assert_eq!(error, "tensors: `w`: the name is taken; write the file again");
        let error = tensors_to_bytes(&[tensor("w", &[2], &[0.0])]).unwrap_err().to_string();
        assert!(error.starts_with("tensors: `w` of shape [2]: "), "{error}");
    }
}
