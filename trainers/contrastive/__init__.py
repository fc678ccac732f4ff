"""Contrastive training of image and text towers (REACT's customisation): pairs, losses, export.

pool.py       pairs of picture and caption: tars, parquet, records
augment.py    pictures to pixels, with REACT's random changes
objective.py  the objective: modes, losses, cached texts
export.py     a plain model directory, the gates kept beside it, and back
importer.py   weights of open_clip and of REACT's release as a CLIPModel
"""
