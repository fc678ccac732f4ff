"""LSKD: localized commonsense, distilled from a teacher that reads, judged by a critic."""
