"""Optical character recognition (OCR): the text on images of pages."""
