"""torchrun that ends with the process that started it; `python -m` of this module takes torchrun's options."""

from torch.distributed.run import main

from flag_kedro.ppo.distributed.parent import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    main()
