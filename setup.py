"""The package: four import packages, three programs. Tool configuration is in pyproject.toml."""

from setuptools import find_packages, setup

CONTROL = [
    "PyYAML>=6.0.3,<7",
    "jsonschema>=4.26,<5",
    "bottle>=0.13.4,<0.14",
    "cheroot>=11.1.2,<12",
    "peewee>=4.5.3,<5",
    "watchdog>=7.1,<8",
    "ansible-runner>=2.4.3,<3",
    "ansible-core>=2.19",
    "httpx2>=2.16,<3",
    "click>=8.4,<9",
    "rich>=15,<16",
    "dulwich>=1.2,<2",
]
NODE = [
    "docker>=7.2,<8",
    "pwncat==0.1.2",
]
# No wheel exists: Debian's python3-libvirt satisfies it in a venv made with --system-site-packages,
# where PyPI's needs a compiler and libvirt-dev. `make setup` takes the former.
LIBVIRT = ["libvirt-python>=9"]

setup(
    name="iaasctl",
    version="0.1.0",
    description="A small IaaS driven by YAML: libvirt VMs and Docker containers on your own Linux hosts",
    python_requires=">=3.11",
    packages=find_packages(
        include=["iaasctl*", "reconciler*", "hyper*", "manifests*", "playbooks*"]
    ),
    include_package_data=True,
    package_data={"": ["py.typed"], "playbooks": ["*.yml"]},
    install_requires=CONTROL + NODE,
    extras_require={
        "libvirt": LIBVIRT,
        "dev": [
            "ruff>=0.17,<0.18",
            "mypy>=2.4,<3",
            "import-linter>=2.16,<3",
            "pytest>=9.2,<10",
            "pytest-timeout>=2.4,<3",
            "pytest-xdist>=3.8,<4",
            "hypothesis>=6.170,<7",
            "psutil>=7.2,<8",
            "schemathesis>=4.32,<5",
            "trustme>=1.2,<2",
            "types-PyYAML",
            "types-jsonschema",
            "types-docker",
        ],
    },
    entry_points={
        "console_scripts": [
            "iaasctl = iaasctl.main:main",
            "iaas-reconciler = reconciler.main:main",
            "hyper = hyper.main:main",
        ]
    },
)
