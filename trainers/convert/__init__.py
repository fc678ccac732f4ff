"""Turns the raw files of public data sets into LLaVA records (docs/trainers/llava15.md).

    python -m trainers.convert vqav2 --raw FOLDER --out records/vqav2.jsonl

One function per data set, from a folder with its official files to records. Response-format
sentences are not in the records: a mixture adds them (`suffix` in trainers/mixtures/*.yaml), so
that the same records serve mixtures with and without them.
"""
