//! Memory on the device, and pointers into it.

use cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr, ValidAsZeroBits};

use super::{
    device::Device,
    error::{CudaError, Done},
};

/// A place in the device's memory; 0 where there is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pointer(pub(super) u64);

impl Pointer {
    pub(super) const NONE: Pointer = Pointer(0);

    /// The place `count` numbers of `T` further.
    pub(super) fn after<T>(self, count: usize) -> Pointer {
        Pointer(self.0 + (count * size_of::<T>()) as u64)
    }
}

/// What can lie on the device.
pub(super) trait Number: DeviceRepr + ValidAsZeroBits + Copy + Default {}
impl<T: DeviceRepr + ValidAsZeroBits + Copy + Default> Number for T {}

/// Numbers on the device; grows, never shrinks, and holds nothing until it is asked to.
pub(super) struct Buffer<T: Number> {
    slice: Option<CudaSlice<T>>,
}

impl<T: Number> Default for Buffer<T> {
    fn default() -> Self {
        Self { slice: None }
    }
}

impl<T: Number> Buffer<T> {
    /// Zeros.
    pub(super) fn zeros(device: &Device, count: usize) -> Done<Self> {
        let mut buffer = Self::default();
        buffer.reserve(device, count)?;
        Ok(buffer)
    }

    /// Numbers that fit.
    pub(super) fn room(&self) -> usize {
        self.slice.as_ref().map_or(0, CudaSlice::len)
    }

    /// Makes room for `count` numbers; where there was less, the contents become zeros.
    pub(super) fn reserve(&mut self, device: &Device, count: usize) -> Done {
        if count > self.room() {
            // The old memory first: both together may be more than there is.
            self.slice = None;
            let zeros = device.stream.alloc_zeros(count);
            let why =
                "taking memory (a smaller `microbatch_tokens` or `activation_mib` needs less)";
            self.slice = Some(zeros.map_err(|e| CudaError::failed(why)(&e))?);
        }
        Ok(())
    }

    pub(super) fn clear(&mut self, device: &Device) -> Done {
        let Some(slice) = &mut self.slice else { return Ok(()) };
        let done = device.stream.memset_zeros(slice);
        done.map_err(|why| CudaError::failed("clearing memory")(&why))
    }

    /// Copies `values` to the start, with room for them.
    pub(super) fn write(&mut self, device: &Device, values: &[T]) -> Done {
        self.reserve(device, values.len())?;
        let Some(slice) = self.slice.as_mut().filter(|_| !values.is_empty()) else {
            return Ok(());
        };
        let done = device.stream.memcpy_htod(values, slice);
        done.map_err(|why| CudaError::failed("copying to the GPU")(&why))
    }

    /// The first `count` numbers, once everything before is done.
    pub(super) fn read(&self, device: &Device, count: usize) -> Done<Vec<T>> {
        self.read_range(device, 0..count)
    }

    /// Some numbers, once everything before is done.
    pub(super) fn read_range(
        &self,
        device: &Device,
        range: std::ops::Range<usize>,
    ) -> Done<Vec<T>> {
        let mut values = vec![T::default(); range.len()];
        if let Some(slice) = self.slice.as_ref().filter(|_| !range.is_empty()) {
            let view = slice.slice(range);
            let done = device.stream.memcpy_dtoh(&view, &mut values);
            done.map_err(|why| CudaError::failed("copying from the GPU")(&why))?;
        }
        device.wait()?;
        Ok(values)
    }

    /// Copies `count` numbers of another buffer, from `at` in both.
    pub(super) fn copy_from(
        &mut self,
        device: &Device,
        (from, from_at): (&Buffer<T>, usize),
        (at, count): (usize, usize),
    ) -> Done {
        let (Some(to), Some(from)) = (&mut self.slice, &from.slice) else { return Ok(()) };
        let from = from.slice(from_at..from_at + count);
        let done = device.stream.memcpy_dtod(&from, &mut to.slice_mut(at..at + count));
        done.map_err(|why| CudaError::failed("copying on the GPU")(&why))
    }

    /// Where number `at` lies.
    pub(super) fn at(&self, device: &Device, at: usize) -> Pointer {
        let Some(slice) = &self.slice else { return Pointer::NONE };
        assert!(at <= slice.len(), "number {at} of {}", slice.len());
        Pointer(slice.device_ptr(&device.stream).0).after::<T>(at)
    }

    /// Where the first number lies.
    pub(super) fn start(&self, device: &Device) -> Pointer {
        self.at(device, 0)
    }
}
