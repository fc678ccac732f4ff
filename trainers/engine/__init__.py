"""How a recipe is carried out: records -> samples -> batches -> steps -> checkpoint.

    records.py    LLaVA records: read, checked, addressed one by one
    templates.py  conversations to text, and which characters of it are targets
    images.py     pictures to pixels, through the checkpoint's own processor
    samples.py    a record to tokens, targets and pictures; what is wrong with it
    indexing.py   what is known of all records, kept on disk
    sampler.py    which samples make which step
    collate.py    samples to tensors, padded or packed; attention.py: rows that hold several
    model.py      build, load, check against the recipe, save
    groups.py     what trains, at which rate; manifest.py: what really changed
    loop.py       `train(recipe, ...)`, the one entry; trainer.py: transformers' Trainer, extended
    muon.py       Muon and AdamW as one optimizer
    objective.py  what a trainer with a loss of its own hands over; objective_loop.py, _trainer.py,
                  _plan.py and _card.py carry it out; runs.py: what both loops share
    resume.py     exact continuation
    log.py, card.py, evaluate.py, leak.py, estimate.py: what is said about a run

Modules here may import torch and transformers at the top; nothing outside imports them before a
training run starts.
"""
