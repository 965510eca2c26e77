"""Facts into samples: a facts file is read and checked (load), its conclusions found (infer), its probes made (derive).

``schema`` says what a facts file holds, ``pairs`` what pairs without a claim are.
"""
