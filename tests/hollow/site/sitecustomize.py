"""In every process on the hollow device: cuDNN is off, and DDP believes that shapes agree, for nothing answers."""

import importlib.abc
import importlib.machinery
import sys


class AfterTorch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            import torch.nn.parallel.distributed

            module.backends.cudnn.enabled = False
            torch.nn.parallel.distributed._verify_param_shape_across_processes = lambda *a, **k: None

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, AfterTorch())
