"""The loader of a training: the rows that the sampler draws, as whole batches on the device."""

from typing import Any

from accelerate.data_loader import prepare_data_loader
from torch import Tensor
from torch.utils.data import DataLoader

from training.config_training import TextCnnTrainingArguments
from training.features import TokenTensors
from training.sampling import EpochBatches, training_order


def training_loader(
    dataset: TokenTensors, args: TextCnnTrainingArguments, batch_size: int
) -> DataLoader[dict[str, Tensor]]:
    """Batches of this process, of at most `batch_size` rows, with every knob of `DataLoader` as the flags have it."""
    loader = DataLoader(
        dataset,
        batch_sampler=_batches(dataset, args, batch_size),  # type: ignore[arg-type]  # a batch of rows is a tensor
        collate_fn=as_it_is,
        num_workers=args.dataloader_num_workers,
        pin_memory=args.dataloader_pin_memory and dataset.token_ids.device.type == "cpu",
        persistent_workers=args.dataloader_persistent_workers,
        prefetch_factor=args.dataloader_prefetch_factor,
        multiprocessing_context=args.dataloader_multiprocessing_context,
        in_order=args.dataloader_in_order,
    )
    prepared: DataLoader[dict[str, Tensor]] = prepare_data_loader(
        loader, args.device, num_processes=1, process_index=0, put_on_device=True, non_blocking=True
    )
    return prepared


def as_it_is(batch: Any) -> Any:
    """The collator: `TokenTensors` gives whole batches."""
    return batch


def _batches(dataset: TokenTensors, args: TextCnnTrainingArguments, batch_size: int) -> EpochBatches:
    order, rows = training_order(
        args.sampler or "random",
        args.sampler_replacement,
        args.sampler_num_samples,
        dataset.labels.cpu().numpy(),
        dataset.lengths,
        batch_size * args.world_size,
    )
    seed = args.seed if args.data_seed is None else args.data_seed
    process = (args.process_index, args.world_size)
    return EpochBatches(order, rows, batch_size, seed, args.dataloader_drop_last, *process)
