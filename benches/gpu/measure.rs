//! CUDA events, graphs and copies: how long the GPU itself takes.

use anyhow::{anyhow, bail, Result};
use candle_core::backend::BackendDevice;
use candle_core::cuda_backend::cudarc::driver::{sys, CudaEvent, CudaStream};
use candle_core::{CudaDevice, DType, Device, Storage, Tensor};
use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Longer calls are measured one by one, shorter ones many at a time in a graph.
const LONG_MS: f64 = 1.0;
/// About how long each measurement of a case takes in all.
const BUDGET_MS: f64 = 150.0;
/// How long the GPU works at a stretch: a card that has worked longer reaches the limit of its power, and
/// lowers its clocks by up to 15 %.
const BURST_MS: f64 = 25.0;
/// How long it rests in between.
const REST: Duration = Duration::from_millis(60);
/// Elements of the largest random tensor that is made at once.
const RANDOM_BLOCK: usize = 1 << 27;
/// Copied to find the rate of copies: larger than any cache.
const COPIED_BYTES: usize = 1 << 30;

pub struct Gpu {
    device: Device,
    cuda: CudaDevice,
    stream: Arc<CudaStream>,
    cache_bytes: usize,
    /// candle uploads shapes and strides for some operations. A graph would copy them again each time
    /// it runs, from memory that is freed by then: so each is uploaded once, and kept.
    _uploads: Box<dyn Any>,
}

/// How long one call takes.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// On the GPU, in short bursts.
    pub ms: f64,
    /// One after the other from this program without a rest: its own time shows where calls are short, the
    /// lower clocks of a card at the limit of its power where they are long.
    pub launched_ms: f64,
    /// Whether `ms` was measured in a CUDA graph.
    pub graph: bool,
}

/// Makes the output of the call on the given set of inputs.
type Call<'a> = &'a dyn Fn(usize) -> candle_core::Result<Tensor>;

impl Gpu {
    pub fn new(ordinal: usize) -> Result<Self> {
        let device = Device::new_cuda_with_stream(ordinal)?;
        let cuda = device.as_cuda_device()?.clone();
        // SAFETY: all tensors of this program are used on the device's one stream, by one thread.
        unsafe { cuda.disable_event_tracking() };
        let stream = cuda.cuda_stream();
        let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE;
        let cache_bytes = stream.context().attribute(attribute)?;
        let gpu = Gpu {
            _uploads: Box::new(cuda.enable_cuda_graph_htod_cache()),
            device,
            cuda,
            stream,
            cache_bytes: usize::try_from(cache_bytes)?,
        };
        gpu.keep_freed_memory()?;
        Ok(gpu)
    }

    /// Memory that is freed stays with the program: to map it again would be measured.
    fn keep_freed_memory(&self) -> Result<()> {
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        self.set_pool_attribute(attribute, u64::MAX)
    }

    /// Where the device's memory comes from.
    fn pool(&self) -> Result<sys::CUmemoryPool> {
        let device = self.stream.context().cu_device();
        let mut pool = std::ptr::null_mut();
        // SAFETY: the context of the device is current (the stream was made in it).
        unsafe { sys::cuDeviceGetDefaultMemPool(&mut pool, device).result()? };
        Ok(pool)
    }

    fn set_pool_attribute(&self, attribute: sys::CUmemPool_attribute, mut to: u64) -> Result<()> {
        // SAFETY: the pool is the device's own; the attribute is a u64, read during the call.
        unsafe {
            sys::cuMemPoolSetAttribute(self.pool()?, attribute, (&raw mut to).cast()).result()?;
        }
        Ok(())
    }

    fn pool_attribute(&self, attribute: sys::CUmemPool_attribute) -> Result<u64> {
        let mut value = 0u64;
        // SAFETY: the pool is the device's own; the attribute is a u64.
        unsafe {
            sys::cuMemPoolGetAttribute(self.pool()?, attribute, (&raw mut value).cast())
                .result()?;
        }
        Ok(value)
    }

    /// The most memory that a call has at once beside its inputs: output, workspace, spectra.
    pub fn peak_bytes(&self, call: Call<'_>) -> Result<u64> {
        use sys::CUmemPool_attribute as Attribute;
        self.cuda.synchronize()?;
        let before = self.pool_attribute(Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
        // To set it to zero makes it what is used now.
        self.set_pool_attribute(Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, 0)?;
        let output = call(0)?;
        self.cuda.synchronize()?;
        let peak = self.pool_attribute(Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)?;
        drop(output);
        Ok(peak.saturating_sub(before))
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    pub fn name(&self) -> Result<String> {
        Ok(self.stream.context().name()?)
    }

    pub fn free_bytes(&self) -> Result<usize> {
        self.cuda.synchronize()?;
        // What earlier cases freed is kept, and counts as used: give it back first.
        // SAFETY: the pool is the device's own; only memory that nothing uses is given back.
        unsafe { sys::cuMemPoolTrimTo(self.pool()?, 0).result()? };
        Ok(self.stream.context().mem_get_info()?.0)
    }

    /// Standard normal numbers.
    pub fn random(&self, shape: [usize; 3], dtype: DType) -> Result<Tensor> {
        let [batch, channels, length] = shape;
        let step = (RANDOM_BLOCK / (channels * length)).clamp(1, batch);
        let tensor = Tensor::zeros(&shape, dtype, &self.device)?;
        for first in (0..batch).step_by(step) {
            let count = step.min(batch - first);
            let block = Tensor::randn(0f32, 1.0, (count, channels, length), &self.device)?;
            tensor.slice_set(&block.to_dtype(dtype)?, 0, first)?;
        }
        Ok(tensor)
    }

    /// So many sets of inputs and outputs of `bytes` that none is in the cache when its turn comes.
    pub fn sets_beyond_cache(&self, bytes: usize) -> usize {
        (4 * self.cache_bytes).div_ceil(bytes.max(1)).clamp(1, 256)
    }

    /// Bytes a second, read and written, of a large copy.
    pub fn copy_rate(&self) -> Result<f64> {
        let count = COPIED_BYTES / size_of::<f32>();
        let random = self.random([1, 1, count], DType::F32)?;
        let (storage, _) = random.storage_and_layout();
        let Storage::Cuda(storage) = &*storage else {
            bail!("the random numbers are not on the GPU");
        };
        let from = storage.as_cuda_slice::<f32>()?;
        let mut to = self.stream.alloc_zeros::<f32>(count)?;
        let ms = self.one_by_one(30, &mut |_| Ok(self.stream.memcpy_dtod(from, &mut to)?))?;
        Ok(2.0 * COPIED_BYTES as f64 / (ms / 1e3))
    }

    /// The time of `call`, which takes the index of one of `sets` sets of inputs.
    pub fn time(&self, sets: usize, call: Call<'_>) -> Result<Timing> {
        let mut next = 0;
        let mut outputs = VecDeque::new();
        let mut run = |outputs: &mut VecDeque<Tensor>| -> Result<()> {
            // As many outputs as inputs, or they would stay in the cache.
            if outputs.len() >= sets {
                outputs.pop_front();
            }
            outputs.push_back(call(next % sets)?);
            next += 1;
            Ok(())
        };
        for _ in 0..3 {
            run(&mut outputs)?;
        }
        let estimate = self.one_by_one(sets.clamp(3, 20), &mut |_| run(&mut outputs))?;
        let calls = (BUDGET_MS / estimate).clamp(5.0, 200.0) as usize;
        let burst = (BURST_MS / estimate).clamp(2.0, 200.0) as usize;
        let mut bursts = Vec::new();
        for _ in 0..calls.div_ceil(burst) {
            std::thread::sleep(REST);
            bursts.extend(self.each_of(burst, &mut |_| run(&mut outputs))?);
        }
        let launched_ms = self.one_by_one(calls, &mut |_| run(&mut outputs))?;
        outputs.clear();
        let mut timing = Timing {
            ms: median(bursts),
            launched_ms,
            graph: false,
        };
        if launched_ms < LONG_MS {
            std::thread::sleep(REST);
            let captured = ((1.0 / launched_ms) as usize).clamp(20, 200).max(sets);
            if let Ok(ms) = self.in_a_graph(captured, &mut run) {
                timing.ms = ms;
                timing.graph = true;
            }
        }
        Ok(timing)
    }

    fn event(&self) -> Result<CudaEvent> {
        let flags = sys::CUevent_flags::CU_EVENT_DEFAULT;
        let event = self.stream.context().new_event(Some(flags))?;
        event.record(&self.stream)?;
        Ok(event)
    }

    /// The median time of `count` calls.
    fn one_by_one(&self, count: usize, call: &mut dyn FnMut(usize) -> Result<()>) -> Result<f64> {
        Ok(median(self.each_of(count, call)?))
    }

    /// The times of `count` calls, after one.
    fn each_of(&self, count: usize, call: &mut dyn FnMut(usize) -> Result<()>) -> Result<Vec<f64>> {
        call(0)?; // so that the GPU is busy while the first events are made
        let mut events = vec![self.event()?];
        for index in 0..count {
            call(index)?;
            events.push(self.event()?);
        }
        self.cuda.synchronize()?;
        events
            .windows(2)
            .map(|pair| Ok(f64::from(pair[0].elapsed_ms(&pair[1])?)))
            .collect()
    }

    /// The time of one call of `count` that are replayed together.
    fn in_a_graph(
        &self,
        count: usize,
        run: &mut dyn FnMut(&mut VecDeque<Tensor>) -> Result<()>,
    ) -> Result<f64> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode)?;
        // Every output is freed within the capture: the graph can run again and again.
        let outcome = {
            let mut outputs = VecDeque::new();
            (0..count).try_for_each(|_| run(&mut outputs))
        };
        let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = self.stream.end_capture(flags);
        outcome?;
        let graph = graph?.ok_or_else(|| anyhow!("nothing was captured"))?;
        for _ in 0..2 {
            graph.launch()?;
        }
        let ms = self.one_by_one(20, &mut |_| Ok(graph.launch()?))?;
        Ok(ms / count as f64)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
